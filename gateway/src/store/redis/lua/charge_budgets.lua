-- ARGV: now, invented budgets kept, how many are asked for, then for each budget, those asked for
-- first: name, windows, step, whether anyone can invent it
local now, most, asked = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
see(now)
local charges = {}
for place = 4, #ARGV, 4 do
  local list, longest = windows(ARGV[place + 1])
  charges[#charges + 1] = {
    name = ARGV[place],
    windows = list,
    longest = longest,
    step = tonumber(ARGV[place + 2]),
    invented = ARGV[place + 3] == '1',
  }
end

local function load(charge)
  local drafts = {}
  local kept = redis.call('HGET', key('budget', charge.name), 'drafts')
  for at, count in string.gmatch(kept or '', '(%d+):(%d+)') do
    if tonumber(at) + charge.longest > now then
      drafts[#drafts + 1] = { at = tonumber(at), count = tonumber(count) }
    end
  end
  return drafts
end

-- When there is room again, if a window is full: the latest of the full windows' moments.
local function spent(charge)
  local latest
  local drafts = load(charge)
  for _, window in ipairs(charge.windows) do
    local total = 0
    for _, draft in ipairs(drafts) do
      if draft.at + window.per > now then
        total = total + draft.count
      end
    end
    local surplus = total - window.limit
    if surplus >= 0 then
      local frees, gone = now, 0
      for _, draft in ipairs(drafts) do
        if draft.at + window.per > now then
          gone = gone + draft.count
          if gone > surplus then
            frees = draft.at
            break
          end
        end
      end
      latest = math.max(latest or 0, frees + window.per)
    end
  end
  return latest
end

local function draw(charge)
  local drafts = load(charge)
  local at = math.ceil(now / charge.step) * charge.step
  local place = 1
  while drafts[place] and drafts[place].at < at do
    place = place + 1
  end
  if drafts[place] and drafts[place].at == at then
    drafts[place].count = drafts[place].count + 1
  else
    table.insert(drafts, place, { at = at, count = 1 })
  end
  local text = {}
  for number, draft in ipairs(drafts) do
    text[number] = whole(draft.at) .. ':' .. whole(draft.count)
  end
  local name = key('budget', charge.name)
  redis.call('HSET', name, 'drafts', table.concat(text, ','))
  keep(name, at + charge.longest, now)
  if charge.invented then
    redis.call('ZADD', base .. 'invented', whole(now), charge.name)
    while redis.call('ZCARD', base .. 'invented') > most do
      local oldest = redis.call('ZPOPMIN', base .. 'invented')
      redis.call('DEL', key('budget', oldest[1]))
    end
  end
end

local latest
for place = 1, asked do
  local frees = spent(charges[place])
  if frees then
    latest = math.max(latest or 0, frees)
  end
end
if latest then
  return { 'spent', whole(latest) }
end
local held
for place = asked + 1, #charges do
  if not held and spent(charges[place]) then
    held = place - asked - 1
  end
end
for place = 1, held and asked or #charges do
  draw(charges[place])
end
if held then
  return { 'held', whole(held) }
end
return { 'charged' }
