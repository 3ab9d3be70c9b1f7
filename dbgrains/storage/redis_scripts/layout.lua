-- How a cluster's keys are laid out, decided by whoever comes first. KEYS cfg   ARGV version shards created_by
-- Answers {version, shards, created (seconds), created_by} as stored.
if redis.call('EXISTS', KEYS[1]) == 0 then
  redis.call('HSET', KEYS[1], 'v', ARGV[1], 'shards', ARGV[2], 'created', redis.call('TIME')[1], 'by', ARGV[3])
end
return redis.call('HMGET', KEYS[1], 'v', 'shards', 'created', 'by')
