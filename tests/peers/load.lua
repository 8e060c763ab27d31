-- What wrk sends, and its summary as one line of JSON. Arguments: the API key, the media type, a file with the body.

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

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    '{"requests":%d,"micros":%d,"failed":%d,"p50":%d,"p99":%d}\n', summary.requests, summary.duration,
    errors.status + errors.connect + errors.read + errors.write + errors.timeout, latency:percentile(50), latency:percentile(99)))
end
