-- Say what a member holds. KEYS M L I A1..An   ARGV member nonce request quarantine gap restore "token1 .. tokenn"
-- Per record: 1 it is ours, 2 it was missing and is restored, 3 another running member has it, 0 it is lost.
-- `restore` is 1 for a member whose own lease never lapsed; and only after a break of the history, while the
-- shard is closed for it, can a record be missing that nobody else was granted. A gap loses no records.
-- Answers {} when there is no lease or no shard.
-- include _shard.lua
-- include _history.lua
local member, request, may_restore = ARGV[1], int(ARGV[3]), ARGV[6] == '1'
local past = history(int(ARGV[4]), int(ARGV[5]), false)
if not past or not may_act(member, ARGV[2]) then
  return {}
end

local token, restored, ids, codes = past.token, {}, {}, {}
local id_starts = #KEYS[1] + 2

local function decide(i, ours)
  local record = redis.pcall('HMGET', KEYS[i], 'm', 't')
  if record.err then
    return 0
  end
  local owner, theirs = record[1], record[2]
  if owner == member and theirs == ours then
    return 1
  elseif not may_restore or now >= past.closed_until then
    return 0
  elseif owner and owner ~= member and is_running(lease(owner)) then
    return 3
  elseif owner and int(theirs) >= int(ours) then
    return 0
  end
  token = math.max(token, int(ours))
  restored[#restored + 1] = { KEYS[i], ours }
  ids[#ids + 1] = string.sub(KEYS[i], id_starts)
  return 2
end

local tokens = words(ARGV[7])
for i = 4, #KEYS do
  codes[i - 3] = decide(i, tokens[i - 3])
end
if #restored > 0 then
  remember_token(token)
  redis.call('SADD', KEYS[3], unpack(ids))
  for _, record in ipairs(restored) do
    redis.call('HSET', record[1], 'm', member, 't', record[2], 'r', dec(request))
  end
end
return codes
