# Shared by the jobs in Ruby: their arguments, and checks that end the program with status 1.

HOST, PORT, SERVERS = ARGV[0], ARGV[1].to_i, ARGV[2].to_i
URL = "redis://#{HOST}:#{PORT}/0".freeze

def same(expected, actual)
  raise "#{actual.inspect} instead of #{expected.inspect}" unless expected == actual
end
