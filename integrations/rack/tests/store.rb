# frozen_string_literal: true

# What requests do to a session, and what is in the database.  Says "ok" or "not ok" of
# each thing.
$LOAD_PATH.unshift(File.expand_path('../lib', __dir__))
require 'active_support'
require 'active_support/core_ext/hash/indifferent_access'
require 'connection_pool'
require 'pg'
require 'rack'
require 'rack/mock'
require 'rack/session/narvik'

CONNECTION = PG.connect
ADMIN = PG.connect(user: 'postgres', options: '-c search_path=narvik')
OBJECTS = Rack::Session::NarvikStore::Objects

# A browser: keeps its cookie from request to request.
class Browser
  attr_accessor :cookie
  attr_reader :errors, :id_sent

  def initialize(cookie = nil, **options)
    @cookie = cookie
    @options = options
  end

  # One request, in which the block gets the session and its options.
  def visit(&work)
    app = lambda do |request|
      @result = work.call(request['rack.session'], request['rack.session.options'])
      [200, {}, []]
    end
    store = Rack::Session::Narvik.new(app, connection: CONNECTION, **@options)
    @errors = StringIO.new
    headers = store.call(Rack::MockRequest.env_for('/', { 'rack.errors' => @errors, 'HTTP_COOKIE' => @cookie && "rack.session=#{@cookie}" }.compact))[1]
    @id_sent = headers.find { |name, _| name.casecmp?('Set-Cookie') }.to_s[/rack\.session=(\w+)/, 1]
    @cookie = @id_sent || @cookie
    @result
  end

  def put(**values)
    visit { |session, _| values.each { |key, value| session[key] = value } }
  end

  def found
    visit { |session, _| session.to_hash }
  end
end

def row(cookie)
  ADMIN.exec_params("SELECT *, encode(id, 'hex') AS hex, expires_at - statement_timestamp() AS left FROM narvik_sessions WHERE id = decode($1, 'hex')",
                    [Digest::SHA256.hexdigest(cookie)]).first
end

def sessions_of(user)
  ADMIN.exec_params('SELECT count(*) FROM narvik_fetch_sessions_for_user($1)', [user])[0]['count'].to_i
end

def is(what, expected, got)
  puts expected === got ? "ok - #{what}" : "not ok - #{what}\n# expected #{expected.inspect}\n# got      #{got.inspect[0, 500]}"
end

def raises(what, message)
  yield
  is what, message, nil
rescue StandardError => e
  is what, message, "#{e.class}: #{e.message}"
end

# ---- a visit ----------------------------------------------------------------

alice = Browser.new
alice.visit { nil }
is 'who does nothing gets no session', nil, alice.cookie
alice.put(cart: [7])
is 'an id has 256 random bits', /\A\h{64}\z/, alice.cookie
is 'a guest\'s session is nobody\'s', nil, row(alice.cookie)['user_id']
is 'what a guest puts in is there in the next request', { 'cart' => [7] }, alice.found
is 'SQL can read it', '{"rack": {"cart": [7]}}', row(alice.cookie)['data']

guest = alice.cookie
created = row(guest)['created_at']
alice.visit { |session, options| session['user_id'] = 42; options[:renew] = true }
is 'logging in with :renew changes the id', false, alice.cookie == guest
is 'the guest\'s data is carried over', { 'cart' => [7], 'user_id' => 42 }, alice.found
is 'the session is the user\'s', '42', row(alice.cookie)['user_id']
is 'it is the same session', created, row(alice.cookie)['created_at']
is 'the guest\'s id finds nothing any more', {}, Browser.new(guest).found

hank = Browser.new
hank.put(user_id: 'hank')
old = hank.cookie
hank.visit { |_, options| options[:renew] = true }
is 'a request with :renew that reads nothing keeps the session', { 'user_id' => 'hank' }, hank.found
is 'under a new id, too', [false, nil, 1], [hank.cookie == old, row(old), sessions_of('hank')]

planted = 'feedface' * 8
victim = Browser.new(planted)
victim.put(a: 'b')
is 'an id that somebody planted is refused', false, victim.cookie == planted
is 'and nothing is stored under it', nil, row(planted)

# ---- sessions of others -----------------------------------------------------

def made_by_sql(data)
  ADMIN.exec_params('SELECT token FROM narvik_create_guest_session($1)', [data])[0]['token']
end

other = Browser.new(namespace: 'other')
other.put(user_id: 7)
is 'a namespace is the key of the data', '{"other": {"user_id": 7}}', row(other.cookie)['data']
is 'with which it is found', { 'user_id' => 7 }, other.found
{ 'one of SQL\'s, whose data a visitor chose' => made_by_sql('{"user_id": 1}'), 'one that has no session there' => made_by_sql('{"rack": 7}'),
  'one of another namespace' => other.cookie }.each do |what, cookie|
  before = row(cookie).slice('user_id', 'data', 'expires_at')
  stranger = Browser.new(cookie)
  is "#{what} is not read", {}, stranger.visit { |session, _| session.to_hash.tap { session['a'] = 'b' } }
  is "another is begun beside #{what}", [false, { 'a' => 'b' }], [stranger.cookie == cookie, stranger.found]
  [{ drop: true }, { renew: true }].each { |ending| Browser.new(cookie).visit { |_, options| options.merge!(ending) } }
  Browser.new(cookie).visit { |session, _| session.destroy }
  is "nothing changes #{what}", before, row(cookie)&.slice(*before.keys)
end

# ---- what is written --------------------------------------------------------

before = row(alice.cookie).slice('xmin', 'expires_at')
alice.visit { |session, _| session['cart'] }
is 'a request that changes nothing extends the session', true, row(alice.cookie)['expires_at'] > before['expires_at']
stale = nil
alice.visit do |session, _|
  stale = session['cart']
  Browser.new(alice.cookie).put(cart: [8])
end
is 'a slow request that changes nothing undoes nobody\'s change', [8], alice.found['cart']
is 'though it has seen the old', [7], stale
is 'a session lives a day unless told otherwise', '23:59:5', row(alice.cookie)['left'][0, 7]
short = Browser.new(expire_after: 600)
short.put(a: 'b')
is 'or as long as expire_after says', '00:09:5', row(short.cookie)['left'][0, 7]
brief = Browser.new(lifetime: 600)
brief.put(a: 'b')
is 'or lifetime, with a cookie that ends with the browser', '00:09:5', row(brief.cookie)['left'][0, 7]
brief = Browser.new(brief.cookie, lifetime: 0.5)
is 'until then it is found', { 'a' => 'b' }, brief.found
sleep 0.7
is 'and then it has expired', {}, Browser.new(brief.cookie).found

# ---- what was ended meanwhile -----------------------------------------------

[['with a change', {}, ->(session) { session['late'] = 'yes' }], ['without one', {}, ->(session) { session['late'] }],
 ['with :renew', { renew: true }, ->(session) { session['late'] = 'yes' }]].each do |how, how_options, work|
  carol = Browser.new
  carol.put(user_id: 'carol')
  old = carol.cookie
  carol.visit do |session, options|
    session['user_id']
    ADMIN.exec("SELECT narvik_delete_sessions_for_user('carol')")
    options.merge!(how_options)
    work.call(session)
  end
  is "what was ended meanwhile is not revived, #{how}", 0, sessions_of('carol')
  is "no cookie is sent, #{how}", nil, carol.id_sent
  is "Rack says so in the log, #{how}", /failed to save session/, carol.errors.string
  is "the next request is a stranger's, #{how}", {}, Browser.new(old).found
end

log_in = lambda do |session, options|
  session['user_id'] = 'gina'
  options[:renew] = true
end
gina = Browser.new
gina.put(cart: [7])
guest = gina.cookie
gina.visit do |session, options|
  session['cart']
  Browser.new(guest).visit(&log_in)
  log_in.call(session, options)
end
is 'a log-in that is submitted twice sends a cookie twice', /\A\h{64}\z/, gina.id_sent
is 'both have logged in', 2, sessions_of('gina')
is 'with what the guest had', { 'cart' => [7], 'user_id' => 'gina' }, gina.found
is 'under a new id', [false, nil], [gina.cookie == guest, row(guest)]

dave = Browser.new
dave.put(user_id: 'dave')
old = dave.cookie
dave.visit { |session, _| session.destroy }
is 'destroy ends the session', 0, sessions_of('dave')
is 'and its id', {}, Browser.new(old).found
erin = Browser.new
erin.put(user_id: 'erin')
erin.visit { |_, options| options[:drop] = true }
is ':drop ends the session', 0, sessions_of('erin')

# ---- odd values -------------------------------------------------------------

plain = { 'text' => "\u{1F600} \\u0000 \" ' \\", 'list' => [1, 2.5, true, false, nil, 'x'], 'deep' => { 'a' => { 'b' => [] } }, '' => -1, 'big' => 2**70 }
browser = Browser.new
browser.visit { |session, _| session.update(plain) }
is 'what JSON can hold comes back', plain, browser.found
{ 'a symbol' => :symbol, 'a key that is a symbol' => { a: 1 }, 'a time' => Time.now, 'octets' => "\xff\xfe".b, 'half a character' => "\xe2\x82",
  'a lone surrogate' => "\xed\xa0\x80", 'NUL' => "a\0b", 'no number' => Float::NAN, 'an object' => Struct.new(:a).new(1) }.each do |what, value|
  raises "#{what} is refused, with the name of its key", /TypeError: "odd"/ do
    browser.visit { |session, _| session.update('text' => 'lost?', 'odd' => value) }
  end
end
is 'what was refused has changed nothing', plain, browser.found
browser = Browser.new
others = { 'hash' => ActiveSupport::HashWithIndifferentAccess.new(a: 'b'), 'text' => Class.new(String).new('text'), 'list' => Class.new(Array).new(1, 'a') }
browser.visit { |session, _| session.update(others) }
is 'hashes, strings and arrays of other classes come back', others, browser.found
is 'as Ruby\'s own', { 'hash' => Hash, 'text' => String, 'list' => Array }, browser.found.transform_values(&:class)
Odd = Struct.new(:value)
odd = { 'symbol' => :symbol, 'time' => Time.now, 'octets' => (0..255).map(&:chr).join.b, 'nul' => "a\0b", 'odd' => Odd.new({ a: 1 }), 'surrogate' => "\xed\xa0\x80" }
browser = Browser.new(coder: OBJECTS)
browser.visit { |session, _| session.update(odd) }
is 'any object comes back, where told so', odd, browser.found
is 'and SQL sees none of it', /\A\{"rack": \{"marshal": "[A-Za-z0-9+\/=]+"\}\}\z/, row(browser.cookie)['data']
much = Random.bytes(3 << 20).unpack1('H*')[0, 4 << 20]
browser = Browser.new
browser.put(much: much)
is '4 MB come back', much, browser.found['much']
["\0", '', "';--", 'x' * 100_000, '%ff'].each do |id|
  is "the id #{id[0, 10].inspect} is a stranger's", {}, Browser.new(id).found
end

# ---- users, connections -----------------------------------------------------

frank = Browser.new(user: ->(session) { session.dig('warden.user.user.key', 0, 0) })
frank.put('warden.user.user.key': [[7], 'salt'])
is 'whose session it is says a function', '7', row(frank.cookie)['user_id']
[nil, false, ''].each do |user|
  browser = Browser.new(user: ->(_) { user })
  browser.put(a: 'b')
  is "#{user.inspect} is a guest", { 'user_id' => nil }, row(browser.cookie).slice('user_id')
end
[:alice, [7], { 'id' => 7 }, 7.0, true].each do |user|
  raises("#{user.inspect} is no user, and the error names the option", /TypeError: the option user .*#{user.class}/) do
    Browser.new(user: ->(_) { user }).put(a: 'b')
  end
end
raises('without a connection there is an error', /ArgumentError/) { Rack::Session::Narvik.new(nil) }
pool = Object.new
def pool.with
  (@used ||= []) << true
  yield CONNECTION
end
# As Rails 7.1 gives it to every object.
with_itself = ->(object) { object.tap { object.define_singleton_method(:with) { |&block| block.call(self) } } }
function = ->(&block) { block.call(CONNECTION) }
{ 'a pool' => pool, 'a function' => function, 'a function in Rails 7.1' => with_itself.call(function.dup) }.each do |what, connection|
  browser = Browser.new(connection: connection)
  browser.put(a: 'b')
  is "#{what} may give the connection", { 'a' => 'b' }, browser.found
end

def end_connections
  ADMIN.exec("SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE application_name = 'mortal'")
end

{ 'one connection' => PG.connect(application_name: 'mortal'), 'a pool' => ConnectionPool.new(size: 1) { PG.connect(application_name: 'mortal') } }.each do |what, connection|
  browser = Browser.new(connection: connection)
  browser.put(a: 'b')
  end_connections
  raises("#{what} that breaks is an error", /\APG::/) { browser.found }
  is "and works in the next request, #{what}", { 'a' => 'b' }, browser.found
  raises("in the middle of a request as well, #{what}", /\APG::/) do
    browser.visit do |session, _|
      session['a'] = 'c'
      end_connections
    end
  end
  is "what that request changed is not stored, #{what}", { 'a' => 'b' }, browser.found
  ADMIN.exec('ALTER ROLE webapp NOLOGIN')
  end_connections
  raises("while the server lets nobody in there are errors, #{what}", /\APG::/) { browser.found }
  raises("that say so, #{what}", /\APG::ConnectionBad: .*not permitted to log in/m) { browser.found }
  ADMIN.exec('ALTER ROLE webapp LOGIN')
  is "then it works again, #{what}", { 'a' => 'b' }, browser.found
end
app = Rack::Session::Narvik.new(->(env) { env['rack.session']['n'] = 1; [200, {}, []] }, connection: with_itself.call(PG.connect))
codes = Array.new(8) { Thread.new { Array.new(20) { app.call(Rack::MockRequest.env_for('/'))[0] } } }.flat_map(&:value)
is 'threads take turns at one connection', [200] * 160, codes
is 'no id is in the database', 0, ADMIN.exec_params('SELECT * FROM narvik_sessions AS s WHERE s::text LIKE $1', ["%#{alice.cookie}%"]).ntuples
