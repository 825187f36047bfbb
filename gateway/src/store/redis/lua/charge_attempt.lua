-- ARGV: now, id, attempts, budget, the fleet's unit, its burst
local now, id = tonumber(ARGV[1]), ARGV[2]
local budget, longest = windows(ARGV[4])
local unit, burst = tonumber(ARGV[5]), tonumber(ARGV[6])
see(now)
local challenge = load_challenge(id, now)
if not challenge or tonumber(challenge.attempts) >= tonumber(ARGV[3]) or challenge.gate == 'link' then
  return { 'over' }
end
local lane = load_lane(lane_of(challenge))
prune(lane, now, longest)
local frees = lane_spent(lane, now, budget)
if frees then
  return { 'spent', whole(frees) }
end
local name = key('challenge', id)
if challenge.lane == 'u' and not challenge.gate then
  local state = shield(now, unit, burst)
  if state.raised then
    return { 'shielded' }
  end
  -- It may have been raised and have lowered itself: the next time starts afresh.
  redis.call('HDEL', base .. 'meta', 'raised_at')
  if state.left == 0 then
    redis.call('HSET', base .. 'meta', 'raised_at', whole(now))
    return { 'shielded' }
  end
  if challenge.user then
    redis.call('HSET', base .. 'meta', 'full_at', whole(math.max(state.full_at, now) + unit))
    if state.left == 1 then
      redis.call('HSET', base .. 'meta', 'raised_at', whole(now))
    end
    redis.call('HINCRBY', name, 'drawn', whole(unit))
  end
end
redis.call('HINCRBY', name, 'attempts', 1)
if longest > 0 then
  local place = #lane.charges + 1
  while place > 1 and lane.charges[place - 1] > now do
    place = place - 1
  end
  table.insert(lane.charges, place, now)
  lane.expires = math.max(lane.expires, now + longest)
end
if lane.stranger then
  lane.stranger = now
end
save_lane(lane, now)
redis.call('HINCRBY', key('failures', failed_account(challenge)), 'since_login', 1)
return { 'charged', whole_challenge(id) }
