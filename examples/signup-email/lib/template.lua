-- {{name}} becomes the value of that name; in HTML, safe for any text.
local template = {}

local entities = { ["&"] = "&amp;", ["<"] = "&lt;", [">"] = "&gt;", ['"'] = "&quot;", ["'"] = "&#39;" }

function template.escape(text)
  return (text:gsub("[&<>\"']", entities))
end

--- Raises an error for a name that has no value: a mail with a hole in it must not go out.
function template.fill(text, values, escape)
  return (text:gsub("{{([%w_]+)}}", function(name)
    local value = values[name]
    if value == nil then
      error(("the template asks for '%s', and the job has none"):format(name), 0)
    end
    value = tostring(value)
    return escape and escape(value) or value
  end))
end

return template
