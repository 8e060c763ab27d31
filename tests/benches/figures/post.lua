-- The requests that wrk sends, and the summary that it prints. Arguments: the API key, the media type of requests and responses, a
-- file with the body.

function init(arguments)
  local key, media, path = arguments[1], arguments[2], arguments[3]
  local file = assert(io.open(path, "rb"))
  wrk.method = "POST"
  wrk.body = file:read("*a")
  wrk.headers["Authorization"] = "Bearer " .. key
  wrk.headers["Content-Type"] = media
  wrk.headers["Accept"] = media
  file:close()
end

-- The benchmark parses the last line.
function done(summary, latency, requests)
  local errors = summary.errors
  local broken = errors.connect + errors.read + errors.write + errors.timeout
  io.write(string.format(
    '{"requests":%d,"micros":%d,"refused":%d,"broken":%d}\n',
    summary.requests, summary.duration, errors.status, broken))
end
