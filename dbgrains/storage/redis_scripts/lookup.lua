-- reads only
-- Who owns records. KEYS M L A1..An   Per record: {} or {BAD, text} or
-- {owner, token, address, is running, microseconds since its lease was renewed or -1 without a lease}
-- include _shard.lua
local answers = {}
for i = 3, #KEYS do
  local record = redis.pcall('HMGET', KEYS[i], 'm', 't')
  if record.err then
    answers[i - 2] = { 'BAD', record.err }
  elseif not record[1] then
    answers[i - 2] = {}
  else
    local row = lease(record[1])
    local age = row and math.max(0, now - (row.ends - row.ttl)) or -1
    answers[i - 2] = { record[1], int(record[2]), row and row.address or '', is_running(row) and 1 or 0, age }
  end
end
return answers
