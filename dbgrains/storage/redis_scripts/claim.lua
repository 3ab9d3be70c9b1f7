-- Take records for a member. KEYS M L I A1..An   ARGV member nonce quarantine gap "request1 .. requestn"
-- One answer per record, in order:
--   {OK, token, previous owner}   {HELD, token, owner, address, microseconds left}
--   {QUAR, microseconds}          {STALE, token}             {BAD, text}
-- or just {NOLEASE} when the member has nothing to claim with.
-- include _shard.lua
-- include _history.lua
local member = ARGV[1]
local past = history(int(ARGV[3]), int(ARGV[4]), false)
if not past or not may_act(member, ARGV[2]) then
  return { 'NOLEASE' }
end

local token, granted, ids = past.token, {}, {}
local id_starts = #KEYS[1] + 2 -- "<tag>:M" beside "<tag>:A:<id>"

local function decide(i, request)
  local record = redis.pcall('HMGET', KEYS[i], 'm', 't', 'r')
  if record.err then
    return { 'BAD', record.err }
  end
  local owner = record[1]
  if owner == member then
    local claimed = int(record[3])
    if claimed == request then
      return { 'OK', int(record[2]), member } -- the answer to our first attempt was lost
    elseif claimed > request then
      return { 'STALE', int(record[2]) }
    end
  elseif owner then
    local row = lease(owner)
    if is_running(row) then
      return { 'HELD', int(record[2]), owner, row.address, row.ends - now }
    end
  end
  if now < past.opens then
    return { 'QUAR', past.opens - now }
  end
  token = math.max(token + 1, now)
  granted[#granted + 1] = { KEYS[i], token, request }
  ids[#ids + 1] = string.sub(KEYS[i], id_starts)
  return { 'OK', token, owner or '' }
end

local answers, requests = {}, words(ARGV[5])
for i = 4, #KEYS do
  answers[i - 3] = decide(i, int(requests[i - 3]))
end

-- Nothing was written yet. First the token, then the index, then the records: whatever fails in between,
-- no token is given twice and no record misses in the index.
if #granted > 0 then
  remember_token(token)
  redis.call('SADD', KEYS[3], unpack(ids))
  for _, grant in ipairs(granted) do
    redis.call('HSET', grant[1], 'm', member, 't', dec(grant[2]), 'r', dec(grant[3]))
  end
end
return answers
