-- Write a state cell if its writer still owns the record. KEYS A S   ARGV member token version [payload]
-- Without payload the cell is cleared; its version goes on counting. No clock is involved: a token that the
-- record doesn't carry is refused whatever the time. Answers {OK, version}, {FENCED, owner}, {CONFLICT, version}.
local function int(text)
  return tonumber(text) or 0
end
local token, expected, payload = ARGV[2], int(ARGV[3]), ARGV[4]
local record = redis.call('HMGET', KEYS[1], 'm', 't')
if record[1] ~= ARGV[1] or record[2] ~= token then
  return { 'FENCED', record[1] or '' }
end
local cell = redis.call('HMGET', KEYS[2], 'v', 't')
local version = int(cell[1])
if int(cell[2]) > int(token) then
  return { 'FENCED', '' }
end
if version == expected then
  local written = string.format('%.0f', version + 1)
  if payload then
    redis.call('HSET', KEYS[2], 'v', written, 't', token, 'd', payload)
  else
    redis.call('HSET', KEYS[2], 'v', written, 't', token)
    redis.call('HDEL', KEYS[2], 'd')
  end
  return { 'OK', version + 1 }
end
-- The answer to our first attempt may have been lost: then the very same write is there already.
if version == expected + 1 and cell[2] == token and redis.call('HGET', KEYS[2], 'd') == (payload or false) then
  return { 'OK', version }
end
return { 'CONFLICT', version }
