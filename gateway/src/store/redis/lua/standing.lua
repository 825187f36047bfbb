-- ARGV: now, account. Returns its failures, then for each lane: name, charges, its live challenges
local now = tonumber(ARGV[1])
local failures = redis.call('HMGET', key('failures', ARGV[2]), 'since_login', 'before_login')
local found = { failures[1] or '0', failures[2] or '0' }
local names = redis.call('SMEMBERS', key('lanes', ARGV[2]))
table.sort(names, function(a, b)
  -- The unknown lane first.
  return (string.sub(a, 66, 66) == 'u' and '' or a) < (string.sub(b, 66, 66) == 'u' and '' or b)
end)
for _, name in ipairs(names) do
  local lane = load_lane(name)
  local charges, live = {}, {}
  for place, at in ipairs(lane.charges) do
    charges[place] = whole(at)
  end
  for _, living in ipairs(lane.live) do
    if load_challenge(living.id, now) then
      live[#live + 1] = whole_challenge(living.id)
    end
  end
  if #charges > 0 or #live > 0 then
    found[#found + 1] = { string.sub(name, 66), charges, live }
  end
end
return found
