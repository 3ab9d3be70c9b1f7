-- Extend a lease. KEYS M L   ARGV member nonce ttl quarantine gap token_seen generation more
-- `more` is 1 while the member has not yet re-asserted everything that it holds.
-- include _shard.lua
-- include _history.lua
local member, nonce, ttl, quarantine = ARGV[1], ARGV[2], int(ARGV[3]), int(ARGV[4])
local seen, known_generation, more = int(ARGV[6]), int(ARGV[7]), ARGV[8] == '1'
local past = history(quarantine, int(ARGV[5]), true)
local row = lease(member)
if not row then
  return lease_answer(past.generation ~= known_generation and 'LOSTDATA' or 'SWEPT', 0, past)
end
if row.nonce ~= nonce then
  return lease_answer('DUP', 0, past)
end
if row.state == 'K' then
  return lease_answer('KILLED', row.ends, past)
end

local code = 'OK'
if row.ends <= now then
  code = 'REVIVED'
elseif past.generation ~= known_generation then
  code = 'REGEN'
end
if seen > past.token then
  past.token = seen
  remember_token(seen)
end
row.ends, row.ttl = now + ttl, ttl
write_lease(member, row)

local closing = redis.call('HMGET', KEYS[1], 'oa', 'oc', 'og', 'gl', 'gn')
local closed_until, gap_until = int(closing[1]), int(closing[3])
if more and closed_until > now and closed_until < now + ttl and now < int(closing[2]) + 3 * quarantine then
  closed_until = now + ttl -- keep what is not re-asserted yet from being granted, though not for ever
  redis.call('HSET', KEYS[1], 'oa', dec(closed_until))
end
if gap_until > now then
  -- The gap is over once everybody who was alive before it has renewed after it.
  local alive_at, noticed_at, waiting = int(closing[4]), int(closing[5]), false
  local all = redis.call('HGETALL', KEYS[2])
  for i = 2, #all, 2 do
    local other = parse_lease(all[i])
    if other and other.ends > alive_at and other.ends - other.ttl < noticed_at then
      waiting = true
      break
    end
  end
  if not waiting then
    gap_until = 0
    redis.call('HSET', KEYS[1], 'og', '0')
  end
end
past.opens = math.max(closed_until, gap_until)
return lease_answer(code, row.ends, past)
