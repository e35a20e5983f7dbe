# frozen_string_literal: true

# Narvik's stores for tests that are made for others: what they look at beside sessions.
$LOAD_PATH.unshift(File.expand_path('../lib', __dir__))
require 'pg'
require 'rack/session/narvik'

CONNECTION = PG.connect

# Rack's own specs, made for Rack::Session::Pool, count what is in its hash.  Each of them
# begins with an empty one.
class StoreUnderTest < Rack::Session::Narvik
  def initialize(app, options = {})
    CONNECTION.exec('SELECT end_all_sessions()')
    super(app, { connection: CONNECTION }.merge(options))
  end

  attr_reader :same_site

  def pool
    CONNECTION.exec("SELECT * FROM sessions").to_a
  end
end

# Rails' own tests, made for ActionDispatch::Session::CacheStore, look into its cache.
class CacheUnderTest
  def read(key)
    id = key[/::(\h+)\z/, 1]
    row = CONNECTION.exec_params("SELECT data -> 'rack' AS data FROM narvik_fetch_session($1)", [id]).first
    row && Rack::Session::NarvikStore::Objects.load(row['data'])
  end
end
