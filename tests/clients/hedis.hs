{-# LANGUAGE OverloadedStrings #-}

-- | hedis with its defaults: strings, automatic pipelines, hashes, transactions, pub/sub. Called as @hedis HOST PORT SERVERS@.
module Main (main) where

import Control.Concurrent (MVar, newEmptyMVar, newMVar, modifyMVar, putMVar, takeMVar)
import Control.Concurrent.Async (withAsync, wait)
import Control.Monad (forM, forM_, unless)
import Control.Monad.IO.Class (liftIO)
import qualified Data.ByteString.Char8 as Bytes
import Database.Redis hiding (wait)
import System.Environment (getArgs)
import System.Timeout (timeout)

same :: (Eq a, Show a) => a -> a -> Redis ()
same expected actual =
  unless (expected == actual) . liftIO . ioError . userError $ show actual ++ " instead of " ++ show expected

numbers :: [Int]
numbers = [1 .. 50]

name :: Int -> Bytes.ByteString
name number = Bytes.pack ("user:" ++ show number)

text :: Int -> Bytes.ByteString
text = Bytes.pack . show

strings :: Redis ()
strings = do
  set "greeting" "he\r\nllo" >>= same (Right Ok)
  get "greeting" >>= same (Right (Just "he\r\nllo"))
  get "absent" >>= same (Right Nothing)
  incrby "counter" 41 >>= same (Right 41)
  lpush "counter" ["x"] >>= either (const (pure ())) (same 0)
  mset [(name number, text number) | number <- numbers] >>= same (Right Ok)
  mget (map name numbers ++ ["absent"]) >>= same (Right (map (Just . text) numbers ++ [Nothing]))
  del (map name numbers) >>= same (Right 50)

-- hedis sends what it can before it waits for a reply.
pipelines :: Redis ()
pipelines = do
  replies <- forM numbers $ \number -> set (name number) (text number) >> get (name number)
  same (map (Right . Just . text) numbers) replies

containers :: Redis ()
containers = do
  hmset "profile" [("name", "Ann"), ("visits", "1")] >>= same (Right Ok)
  hincrby "profile" "visits" 4 >>= same (Right 5)
  hgetall "profile" >>= same (Right [("name", "Ann"), ("visits", "5")])
  rpush "tasks" ["a", "b"] >>= same (Right 2)
  blpop ["tasks"] 5 >>= same (Right (Just ("tasks", "a")))

transactions :: Redis ()
transactions = do
  result <- multiExec $ do
    _ <- set "{order:1}:state" "paid"
    incr "{order:1}:count"
  case result of
    TxSuccess count -> same 1 count
    other -> liftIO . ioError . userError $ show other
  eval "return redis.call('incrby', KEYS[1], ARGV[1])" ["{order:1}:count"] ["4"] >>= same (Right (5 :: Integer))

messages :: Connection -> IO ()
messages connection = do
  received <- newMVar []
  complete <- newEmptyMVar
  withAsync (runRedis connection (pubSub (subscribe ["news"]) (listen received complete))) $ \subscriber -> do
    runRedis connection publishAll
    heard <- timeout 10000000 (takeMVar complete)
    unless (heard == Just (map text numbers)) . ioError . userError $ "messages: " ++ show heard
    wait subscriber

listen :: MVar [Bytes.ByteString] -> MVar [Bytes.ByteString] -> Message -> IO PubSub
listen received complete message = do
  let payload = msgMessage message
  if payload == "0" then pure mempty else do
    heard <- modifyMVar received $ \before -> let now = payload : before in pure (now, now)
    if length heard < length numbers then pure mempty else do
      putMVar complete (reverse heard)
      pure (unsubscribe ["news"])

-- The subscriber may not be ready yet: 0 is published until a client receives it.
publishAll :: Redis ()
publishAll = do
  heard <- publish "news" "0"
  if heard == Right 0 then publishAll else forM_ numbers $ \number -> publish "news" (text number) >>= same (Right 1)

main :: IO ()
main = do
  (host : port : _) <- getArgs
  connection <- connect defaultConnectInfo {connectHost = host, connectPort = PortNumber (fromIntegral (read port :: Int))}
  runRedis connection (strings >> pipelines >> containers >> transactions)
  messages connection
  putStrLn "hedis has done its job"
