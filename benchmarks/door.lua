-- Sends one prepared body over and over, each time under a delivery id of its own.
-- Arguments: the file of the head, the file of the body, a prefix for the ids.

local head, body, prefix, count

local function read(name)
  local file = assert(io.open(name, "rb"))
  local text = file:read("*a")
  file:close()
  return text
end

function init(args)
  head, body, prefix, count = read(args[1]), read(args[2]), args[3], 0
end

function request()
  count = count + 1
  return table.concat({head, "X-GitHub-Delivery: ", prefix, count, "\r\n\r\n", body})
end

function done(summary)
  local errors = summary.errors
  -- What is answered late is not answered wrongly: it is missing in the rate.
  local bad = errors.status + errors.connect + errors.read + errors.write
  io.write(string.format("answers %d bad %d seconds %f\n", summary.requests, bad, summary.duration / 1e6))
end
