-- Take records for a member. KEYS M L I A1..An   ARGV member nonce quarantine gap "request1 .. requestn"
-- One answer per record, in order:
--   token                         granted; nobody had it
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

local requests = words(ARGV[5])
local token, granted, ids = past.token, {}, {}
local opens_in = past.opens - now
local id_starts = #KEYS[1] + 2 -- "<tag>:M" beside "<tag>:A:<id>"

local function grant(i)
  token = math.max(token + 1, now)
  granted[i] = dec(token)
  ids[#ids + 1] = string.sub(KEYS[i], id_starts)
  return token
end

-- What becomes of a record that has an owner.
local function decide(i, owner)
  if owner == member then
    local record = redis.call('HMGET', KEYS[i], 't', 'r')
    local claimed, request = int(record[2]), int(requests[i - 3])
    if claimed == request then
      return { 'OK', int(record[1]), member } -- the answer to our first attempt was lost
    elseif claimed > request then
      return { 'STALE', int(record[1]) }
    end
  else
    local row = lease(owner)
    if is_running(row) then
      return { 'HELD', int(redis.call('HGET', KEYS[i], 't')), owner, row.address, row.ends - now }
    end
  end
  if opens_in > 0 then
    return { 'QUAR', opens_in }
  end
  return { 'OK', grant(i), owner }
end

local answers = {}
for i = 4, #KEYS do
  local owner = redis.pcall('HGET', KEYS[i], 'm')
  if not owner then
    answers[i - 3] = opens_in > 0 and { 'QUAR', opens_in } or grant(i)
  elseif type(owner) == 'string' then
    answers[i - 3] = decide(i, owner)
  else
    answers[i - 3] = { 'BAD', owner.err }
  end
end

-- Nothing was written yet. First the token, then the index, then the records: whatever fails in between,
-- no token is given twice and no record misses in the index.
if #ids > 0 then
  remember_token(token)
  redis.call('SADD', KEYS[3], unpack(ids))
  for i = 4, #KEYS do
    if granted[i] then
      redis.call('HSET', KEYS[i], 'm', member, 't', granted[i], 'r', requests[i - 3])
    end
  end
end
return answers
