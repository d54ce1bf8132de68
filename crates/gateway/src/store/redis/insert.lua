local now, dies, value, version, ttl, key, limiting, most = unpack(ARGV)
if is_live(KEYS[1], now) then
    return 1
end
forget(KEYS[1], key)
if limiting ~= '' and redis.call('ZCOUNT', limiting, '(' .. now, '+inf') >= tonumber(most) then
    return 2
end
redis.call('HSET', KEYS[1], 'v', value, 'n', version, 'e', dies)
redis.call('PEXPIRE', KEYS[1], ttl)
local groups = {}
for n = 2, #KEYS do
    groups[n - 1] = KEYS[n]
    redis.call('ZREMRANGEBYSCORE', KEYS[n], '-inf', now)
    redis.call('ZADD', KEYS[n], dies, key)
    keep(KEYS[n], ttl)
end
if #groups > 0 then
    redis.call('HSET', KEYS[1], 'g', cmsgpack.pack(groups))
end
return 0
