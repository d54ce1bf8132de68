local now, entries, mark = unpack(ARGV)
local ended = {}
for _, key in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
    local place = entries .. key
    if is_live(place, now) then
        ended[#ended + 1] = key
    end
    forget(place, key)
end
redis.call('DEL', KEYS[1])
if #ended > 0 then
    redis.call('PUBLISH', 'v:changes', mark .. table.concat(ended, '\n'))
end
return ended
