-- The members of one cluster. KEYS[1] is what is remembered of the list (M), KEYS[2] the list (R):
-- member id -> "ends|address|data". Times are microseconds on this server's clock.

local function int(text)
  return tonumber(text) or 0
end

local function dec(number)
  return string.format('%.0f', number)
end

local clock = redis.call('TIME')
local now = int(clock[1]) * 1000000 + int(clock[2])

local function read_rows()
  local rows, all = {}, redis.call('HGETALL', KEYS[2])
  for i = 1, #all, 2 do
    local ends, address, data = string.match(all[i + 1], '^(%d+)|([^|]*)|(.*)$')
    rows[all[i]] = { ends = int(ends), address = address or '', data = data or '' }
  end
  return rows
end

local function write_row(member, row)
  redis.call('HSET', KEYS[2], member, dec(row.ends) .. '|' .. row.address .. '|' .. row.data)
end

-- What the list is at this moment, as one text: equal texts, equal lists.
local function written_out(rows)
  local live = {}
  for member, row in pairs(rows) do
    if row.ends > now then
      live[#live + 1] = member .. '|' .. row.data
    end
  end
  table.sort(live)
  return table.concat(live, '\n')
end

-- A list that was made anew may lack members who had no time yet to register again: for one ttl it has no number.
local function number_of(view, generation, ttl)
  if now < int(generation) + ttl then
    return '0'
  end
  return dec(int(view))
end

-- {code, generation, number, id1, data1, ...} of those whose row runs
local function answer(code, generation, number, rows)
  local reply = { code, generation, number }
  for member, row in pairs(rows) do
    if row.ends > now then
      reply[#reply + 1] = member
      reply[#reply + 1] = row.data
    end
  end
  return reply
end
