-- For wrk: requests of random users, whose cookies a file has.  Prints requests a
-- second, p50 and p99 in ms, how many requests, and how many failed.
function init(args)
	requests = {}
	for cookie in io.lines(args[1]) do
		requests[#requests + 1] = wrk.format("GET", "/notes", { Cookie = cookie })
	end
end

function request()
	return requests[math.random(#requests)]
end

function response(status, headers, body)
	-- A page without notes is shorter.
	if status ~= 200 or #body < 60 then
		wrong = (wrong or 0) + 1
	end
end

function setup(thread)
	threads = threads or {}
	threads[#threads + 1] = thread
end

function done(summary, latency, times)
	local failed = summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout
	for _, thread in ipairs(threads) do
		failed = failed + (thread:get("wrong") or 0)
	end
	print("load", summary.requests / summary.duration * 1e6, latency:percentile(50) / 1e3,
		latency:percentile(99) / 1e3, summary.requests, failed)
end
