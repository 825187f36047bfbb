-- KEYS: a session, its last use
local fields = redis.call('HGETALL', KEYS[1])
local seen = #fields > 0 and redis.call('GET', KEYS[2])
if seen then
  for place = 1, #fields, 2 do
    if fields[place] == 'last_seen' and tonumber(fields[place + 1]) < tonumber(seen) then
      fields[place + 1] = seen
    end
  end
end
return fields
