-- Begin a lease. KEYS M L   ARGV member nonce ttl quarantine gap address token_seen
-- include _shard.lua
-- include _history.lua
local member, nonce, ttl, address, seen = ARGV[1], ARGV[2], int(ARGV[3]), ARGV[6], int(ARGV[7])
local past = history(int(ARGV[4]), int(ARGV[5]), true)
local row = lease(member)
if row and row.nonce ~= nonce then
  return lease_answer('DUP', 0, past)
end
if row and row.state == 'K' then
  return lease_answer('KILLED', row.ends, past)
end
if seen > past.token then
  past.token = seen
  remember_token(seen)
end
if not row then
  bump_view()
end
write_lease(member, { ends = now + ttl, ttl = ttl, state = 'U', nonce = nonce, address = address })
return lease_answer('OK', now + ttl, past)
