-- KEYS: a value; ARGV: the new one, and what is expected, if anything is
local found = redis.call('GET', KEYS[1])
if (found or nil) ~= ARGV[2] then
  return 0
end
redis.call('SET', KEYS[1], ARGV[1])
return 1
