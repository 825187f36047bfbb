-- KEYS: what the names of the login's keys begin with; ARGV: the epoch, now, whether something was
-- lost
local base, now = KEYS[1], ARGV[2]
if redis.call('EXISTS', base .. 'epoch') == 1 then
  return 'already'
end
local lost = ARGV[3] == '1' or redis.call('EXISTS', base .. 'lost') == 1
-- In this order: whatever stops it half-way leaves no epoch.
if lost then
  redis.call('HSET', base .. 'meta', 'raised_at', now, 'by_hand', '1')
end
redis.call('SET', base .. 'epoch', ARGV[1])
redis.call('DEL', base .. 'lost')
return lost and 'lost' or 'young'
