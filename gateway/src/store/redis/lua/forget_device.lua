-- ARGV: account, handle
for _, id in ipairs(redis.call('SMEMBERS', key('devices', ARGV[1]))) do
  if redis.call('HGET', key('device', id), 'handle') == ARGV[2] then
    forget_known(ARGV[1], id)
    return 1
  end
end
return 0
