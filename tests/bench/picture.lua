--- `make bench-picture`: draws the rows of bench.json that are compared with something as bench.svg. Each bar is a
--- ratio on a logarithmic scale, turned so that further right is always better; a line marks the floor, a dotted one
--- the aim. Rows without a comparison stand in bench.json only.

local json = require "cjson"
local system = require "system"

local ROW, LEFT, SCALE, TOP = 22, 470, 480, 60 -- pixels
local LEAST, MOST = 0.1, 10 -- ratios outside are cut

local function escape(text)
  return (text:gsub("[&<>]", { ["&"] = "&amp;", ["<"] = "&lt;", [">"] = "&gt;" }))
end

--- Further right is better.
local function goodness(row, ratio)
  return row.better == "less" and 1 / ratio or ratio
end

local function x_of(good)
  good = math.max(LEAST, math.min(MOST, good))
  return LEFT + SCALE * math.log(good / LEAST) / math.log(MOST / LEAST)
end

local function mark(row, bound, y, style)
  if bound == json.null then
    return ""
  end
  local x = x_of(goodness(row, bound))
  return ('<line x1="%.1f" x2="%.1f" y1="%d" y2="%d" %s/>\n'):format(x, x, y, y + ROW - 4, style)
end

local function bar(row, y)
  local good = goodness(row, row.ratio)
  local below = row.must ~= json.null and good < goodness(row, row.must)
  local color = below and "#c0392b" or row.must == json.null and "#95a5a6" or "#27ae60"
  local from, to = x_of(1), x_of(good)
  return ('<text x="%d" y="%d" text-anchor="end">%s</text>\n'):format(LEFT - 8, y + 14, escape(row.workload))
    .. ('<rect x="%.1f" y="%d" width="%.1f" height="%d" fill="%s"/>\n'):format(math.min(from, to), y + 2,
      math.max(1, math.abs(to - from)), ROW - 8, color)
    .. ('<text x="%d" y="%d">%s %s, %.3g of %s</text>\n'):format(LEFT + SCALE + 12, y + 14,
      ("%.4g"):format(row.value), escape(row.unit), row.ratio, escape(row.against))
    .. mark(row, row.must, y, 'stroke="#000" stroke-width="2"')
    .. mark(row, row.aim, y, 'stroke="#000" stroke-width="2" stroke-dasharray="3,3"')
end

local function scale(height)
  local lines = {}
  for _, good in ipairs({ 0.1, 0.2, 0.5, 1, 2, 5, 10 }) do
    local x = x_of(good)
    lines[#lines + 1] = ('<line x1="%.1f" x2="%.1f" y1="%d" y2="%d" stroke="%s"/><text x="%.1f" y="%d" '
      .. 'text-anchor="middle">%g</text>\n'):format(x, x, TOP - 8, height, good == 1 and "#555" or "#ddd", x, TOP - 14,
      good)
  end
  return table.concat(lines)
end

local function main(from, to)
  local text = system.read(from)
  if not text then
    io.stderr:write(("bench-picture: no %s: run `make bench` first\n"):format(from))
    return 1
  end
  local body, y = {}, TOP
  for _, row in ipairs(json.decode(text)) do
    if type(row.ratio) == "number" and row.ratio > 0 then
      body[#body + 1] = bar(row, y)
      y = y + ROW
    end
  end
  system.write(to, ('<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif" '
    .. 'font-size="12">\n<rect width="100%%" height="100%%" fill="#fff"/>\n<text x="%d" y="22" font-size="15">moonq '
    .. 'compared: right of 1 is better; | the floor, dotted the aim</text>\n'):format(LEFT + SCALE + 420, y + 20, LEFT)
    .. scale(y) .. table.concat(body) .. "</svg>\n")
  print(to .. " written")
  return 0
end

local from = os.getenv("BENCH_JSON")
from = from and from ~= "" and from or "bench.json"
os.exit(main(from, (from:gsub("%.json$", "") .. ".svg")))
