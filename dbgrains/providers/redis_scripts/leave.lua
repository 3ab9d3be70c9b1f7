-- Take a registration back. KEYS R   ARGV member   1 when there was one.
return redis.call('HDEL', KEYS[1], ARGV[1])
