-- ARGV: account
for _, name in ipairs(redis.call('SMEMBERS', key('lanes', ARGV[1]))) do
  forget_lane(name)
end
for what = 0, 255 do
  local name = ARGV[1] .. ':' .. what
  redis.call('DEL', key('budget', name))
  redis.call('ZREM', base .. 'invented', name)
end
return 1
