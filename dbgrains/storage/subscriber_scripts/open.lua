-- Take a topic's list of subscribers over.
-- KEYS[1] the list. Returns {epoch, last sequence or '0', field, value, field, value, ...}.
--
-- The epoch grows also when the list was lost, because the clock does. The last sequence is used once: whoever
-- takes over after a death finds none.
local time = redis.call('TIME')
local now_ms = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local old = tonumber(redis.call('HGET', KEYS[1], '@e') or '0')
local epoch = string.format('%.0f', math.max(now_ms, old + 1))
local sequence = redis.call('HGET', KEYS[1], '@q') or '0'
redis.call('HDEL', KEYS[1], '@q')
redis.call('HSET', KEYS[1], '@e', epoch)
local reply = {epoch, sequence}
local all = redis.call('HGETALL', KEYS[1])
for i = 1, #all, 2 do
    if string.sub(all[i], 1, 1) ~= '@' then
        reply[#reply + 1] = all[i]
        reply[#reply + 1] = all[i + 1]
    end
end
return reply
