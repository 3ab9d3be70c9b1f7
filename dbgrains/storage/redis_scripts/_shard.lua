-- What the scripts of one shard share. KEYS[1] is the shard's history (M), KEYS[2] its leases (L).
-- Times are microseconds on this server's clock; a Lua number holds them exactly until the year 2255.

local function int(text)
  return tonumber(text) or 0
end

local function dec(number)
  return string.format('%.0f', number)
end

-- Many numbers travel as one argument, "7 8 9": the client packs each argument at a cost.
local function words(text)
  local found = {}
  for word in string.gmatch(text, '%S+') do
    found[#found + 1] = word
  end
  return found
end

local clock = redis.call('TIME')
local now = int(clock[1]) * 1000000 + int(clock[2])

-- A lease row reads "ends|ttl|state|nonce|address"; state is U (up) or K (killed). Anything else is no row.
local function parse_lease(text)
  if not text then
    return nil
  end
  local ends, ttl, state, nonce, address = string.match(text, '^(%d+)|(%d+)|([UK])|([^|]*)|(.*)$')
  if not ends then
    return nil
  end
  return { ends = int(ends), ttl = int(ttl), state = state, nonce = nonce, address = address }
end

-- Each row is read once per script: a batch has few owners.
local rows_read = {}
local function lease(member)
  if rows_read[member] == nil then
    rows_read[member] = parse_lease(redis.call('HGET', KEYS[2], member)) or false
  end
  return rows_read[member]
end

local function write_lease(member, row)
  local text = dec(row.ends) .. '|' .. dec(row.ttl) .. '|' .. row.state .. '|' .. row.nonce .. '|' .. row.address
  redis.call('HSET', KEYS[2], member, text)
  rows_read[member] = row
end

local function is_running(row)
  return row and row.ends > now
end

-- Whether `member` may be given something: its own row runs, is its own, and nobody has ended it.
local function may_act(member, nonce)
  local row = lease(member)
  return is_running(row) and row.nonce == nonce and row.state == 'U'
end

-- The view counts rows that came, went or were killed.
local function bump_view()
  return redis.call('HINCRBY', KEYS[1], 'vv', 1)
end
