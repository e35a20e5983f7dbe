# frozen_string_literal: true

require 'digest/sha2'
require 'json'
require 'rack/session/abstract/id'

module Rack
  module Session
    # What the stores for Rack and for Rails have in common.
    module NarvikStore
      # Session data as it is, so that SQL can read it.  Refuses what would come back as
      # something else.
      module Json
        def self.dump(session)
          faithful(session) or raise TypeError, "#{session.find { |item| !faithful([item].to_h) }&.first.inspect} " \
            'in the session has a value that JSON in PostgreSQL cannot hold: use plain strings, ' \
            'numbers, arrays and hashes with string keys, or coder: Rack::Session::NarvikStore::Objects'
        end

        def self.load(text)
          ::JSON.parse(text)
        end

        # The octet NUL has an escape in JSON, which jsonb refuses.
        def self.faithful(session)
          text = ::JSON.generate(session)
          text if ::JSON.parse(text) == session && !text.gsub('\\\\', '').include?('\u0000')
        rescue ::JSON::JSONError
          nil
        end
        private_class_method :faithful
      end

      # Whatever Ruby can marshal, opaque to SQL.
      module Objects
        def self.dump(session)
          ::JSON.generate('marshal' => [::Marshal.dump(session)].pack('m0'))
        end

        def self.load(text)
          octets = ::JSON.parse(text)['marshal']
          octets ? ::Marshal.load(octets.unpack1('m')) : {}
        end
      end

      # The id and the text of the session that this request has read.
      READ = 'narvik.session'

      def initialize(app, options = {})
        super
        @connection = @default_options.delete(:connection) or raise ArgumentError, 'sessions need a connection: see the README'
        @coder = @default_options.delete(:coder) || Json
        @lifetime = @default_options.delete(:lifetime) || 86_400
        @user = @default_options.delete(:user) || ->(session) { session['user_id'] }
        @lock = Mutex.new
      end

      # A session that is not there gets an id of ours, not the one that the browser sent.
      def find_session(req, sid)
        row = sid && query('SELECT data::text AS data FROM narvik_fetch_session($1) WHERE expires_at > statement_timestamp()',
                           hash_of(sid)).first
        return [generate_sid, {}] unless row

        session = @coder.load(row['data'])
        req.set_header(READ, [hash_of(sid), @coder.dump(session)])
        [sid, session]
      end

      # What was read is only replaced, so that what was logged out meanwhile stays so.
      def write_session(req, sid, session, options)
        id, text = req.get_header(READ)
        existing = id == hash_of(sid)
        data = @coder.dump(session)
        lifetime = (options[:expire_after] || @lifetime).to_f
        written =
          if existing && data == text
            query('SELECT WHERE narvik_update_session_expiry($1, statement_timestamp() + make_interval(secs => $2))',
                  hash_of(sid), lifetime)
          else
            query('SELECT WHERE narvik_put_session($1, $2, statement_timestamp() + make_interval(secs => $3), $4, existing => $5)',
                  hash_of(sid), @user.call(session), lifetime, data, existing)
          end
        written.ntuples == 1 ? sid : false
      end

      # With :renew the session goes on under a new id.  Where it has been ended
      # meanwhile, the write that follows finds nothing to replace.
      def delete_session(req, sid, options)
        id, text = req.get_header(READ)
        fresh = generate_sid unless options[:drop]
        if fresh && options[:renew] && id == hash_of(sid)
          query('SELECT narvik_change_session_id($1, $2)', id, hash_of(fresh))
          req.set_header(READ, [hash_of(fresh), text])
        else
          query('SELECT narvik_delete_session($1)', hash_of(sid))
        end
        fresh
      end

      private

      # All that the database gets to see of an id.
      def hash_of(sid)
        Digest::SHA256.hexdigest(sid.public_id)
      end

      def query(sql, *values)
        with_connection { |connection| connection.exec_params(sql, values.map { |value| value.to_s unless value.nil? }) }
      end

      # A pool, something to call with a block, or one connection, which threads take in turns.
      def with_connection(&block)
        if @connection.respond_to?(:with)
          @connection.with(&block)
        elsif @connection.respond_to?(:call)
          @connection.call(&block)
        else
          @lock.synchronize { yield @connection }
        end
      end
    end

    # Rack's sessions in PostgreSQL, kept by narvik.
    class Narvik < Abstract::PersistedSecure
      include NarvikStore
    end
  end
end
