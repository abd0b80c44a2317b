# Sidekiq with its defaults: jobs from a client to its own server, some of which fail once, and a look at its queues.
# Sidekiq has no setting for a hash tag, so all of its keys must be on one server: it needs a pool of one.

require_relative "job"
require "sidekiq"
require "sidekiq/api"
require "tempfile"

WORKER = <<~RUBY
  require "sidekiq"
  Sidekiq.configure_server { |config| config.redis = { url: ENV.fetch("JOB_URL") } }
  class Adder
    include Sidekiq::Worker
    def perform(number)
      Sidekiq.redis { |redis| redis.incrby("sum", number) }
    end
  end
  class Failing
    include Sidekiq::Worker
    def perform
      raise "on purpose"
    end
  end
RUBY

Sidekiq.configure_client { |config| config.redis = { url: URL } }
file = Tempfile.new(["worker", ".rb"])
file.write(WORKER)
file.close
load file.path

50.times { |number| Adder.perform_async(number) }
Sidekiq::Client.push_bulk("class" => "Adder", "args" => (50...100).map { |number| [number] })
Failing.perform_async
Adder.perform_in(3600, 1)
same 101, Sidekiq::Queue.new.size
same 1, Sidekiq::ScheduledSet.new.size

log = Tempfile.new("sidekiq")
server = spawn({ "JOB_URL" => URL }, "sidekiq", "-r", file.path, "-c", "5", "-t", "1", %i[out err] => log.path)
begin
  until Sidekiq.redis { |redis| redis.get("sum") } == (0...100).sum.to_s && Sidekiq::RetrySet.new.size == 1
    raise "sidekiq has ended" if Process.wait(server, Process::WNOHANG)

    sleep 0.05
  end
  same 0, Sidekiq::Queue.new.size
  same 1, Sidekiq::ProcessSet.new.size
  Process.kill("TERM", server)
  _, status = Process.wait2(server)
  same 0, status.exitstatus
  same [101, 1], [Sidekiq::Stats.new.processed, Sidekiq::Stats.new.failed]
rescue StandardError
  warn File.read(log.path)
  raise
end
puts "Sidekiq #{Sidekiq::VERSION} has done its job"
