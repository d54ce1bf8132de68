local now, dies, ttl, key = unpack(ARGV)
if not is_live(KEYS[1], now) then
    return 0
end
redis.call('HSET', KEYS[1], 'e', dies)
redis.call('PEXPIRE', KEYS[1], ttl)
for _, group in ipairs(groups_of(KEYS[1])) do
    redis.call('ZADD', group, dies, key)
    keep(group, ttl)
end
return 1
