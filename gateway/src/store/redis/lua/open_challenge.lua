-- ARGV: now, id, account, user (empty: none), lane, code, expires, next, email, link (empty:
-- none), living at once, budget, strangers kept
local now, id, account, lane_name = tonumber(ARGV[1]), ARGV[2], ARGV[3], ARGV[3] .. ':' .. ARGV[5]
local expires = tonumber(ARGV[7])
local budget, longest = windows(ARGV[12])
see(now)
local lane = load_lane(lane_name)
prune(lane, now, longest)
local frees = lane_spent(lane, now, budget)
if frees then
  return { 'spent', whole(frees) }
end
-- A cookie used for a second challenge leads to that one alone.
for place = #lane.live, 1, -1 do
  if lane.live[place].id == id then
    table.remove(lane.live, place)
  end
end
remove_challenge(id)
while #lane.live + 1 > math.max(tonumber(ARGV[11]), 1) do
  remove_challenge(table.remove(lane.live, 1).id)
end
local name = key('challenge', id)
redis.call('HSET', name, 'counter', counter(), 'account', account, 'lane', ARGV[5], 'code', ARGV[6], 'created',
  whole(now), 'expires', ARGV[7], 'attempts', '0', 'next', ARGV[8], 'email', ARGV[9], 'drawn', '0')
if ARGV[4] ~= '' then
  redis.call('HSET', name, 'user', ARGV[4])
end
if ARGV[10] ~= '' then
  redis.call('HSET', name, 'gate', 'link', 'link', ARGV[10])
end
keep(name, expires, now)
lane.live[#lane.live + 1] = { id = id, expires = expires }
lane.expires = math.max(lane.expires, expires)
lane.stranger = ARGV[4] == '' and now or nil
save_lane(lane, now)
while redis.call('ZCARD', base .. 'strangers') > tonumber(ARGV[13]) do
  local oldest = redis.call('ZPOPMIN', base .. 'strangers')
  forget_lane(oldest[1])
end
return { 'opened' }
