# frozen_string_literal: true

require 'digest/sha2'
require 'json'
require 'pg'
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

      # The id, the text and the user of the session that this request has read.
      READ = 'narvik.session'

      # Where the session with the id $1 is, if it is of the namespace $2.
      OURS = "FROM narvik_fetch_session($1) WHERE jsonb_typeof(data -> $2) = 'object'"

      def initialize(app, options = {})
        super
        @connection = @default_options.delete(:connection) or raise ArgumentError, 'sessions need a connection: see the README'
        @coder = @default_options.delete(:coder) || Json
        @namespace = @default_options.delete(:namespace) || 'rack'
        @lifetime = @default_options.delete(:lifetime) || 86_400
        @user = @default_options.delete(:user) || ->(session) { session['user_id'] }
        @lock = Mutex.new
      end

      # A session that is not there, or is not this application's, gets an id of ours, not
      # the one that the browser sent.
      def find_session(req, sid)
        row = sid && query("SELECT user_id, (data -> $2)::text AS data #{OURS} AND expires_at > statement_timestamp()",
                           hash_of(sid), @namespace).first
        return [generate_sid, {}] unless row

        session = @coder.load(row['data'])
        req.set_header(READ, [hash_of(sid), @coder.dump(session), row['user_id']])
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
            query('SELECT WHERE narvik_put_session($1, $2, statement_timestamp() + make_interval(secs => $3), ' \
                  'jsonb_build_object($4::text, $5::jsonb), existing => $6)',
                  hash_of(sid), user_of(session), lifetime, @namespace, data, existing)
          end
        written.ntuples == 1 ? sid : false
      end

      # With :renew the session goes on under a new id.  Where a user's has been ended
      # meanwhile, the write that follows finds nothing to replace.  Where a guest's is gone,
      # that was the same log-in, submitted twice: the write that follows makes a new session.
      def delete_session(req, sid, options)
        req.session.keys if options[:renew] # reads it, unless that was done
        id, text, user = req.get_header(READ)
        fresh = generate_sid unless options[:drop]
        if fresh && options[:renew] && id == hash_of(sid)
          changed = query('SELECT WHERE narvik_change_session_id($1, $2)', id, hash_of(fresh)).ntuples == 1
          req.set_header(READ, changed || user ? [hash_of(fresh), text, user] : nil)
        else
          query("SELECT narvik_delete_session($1) #{OURS}", hash_of(sid), @namespace)
        end
        fresh
      end

      private

      # All that the database gets to see of an id.
      def hash_of(sid)
        Digest::SHA256.hexdigest(sid.public_id)
      end

      def user_of(session)
        case user = @user.call(session)
        when nil, false, '' then nil
        when String, Integer then user
        else raise TypeError, "the option user gave a value of #{user.class}: a user is a string or an integer, nil is a guest"
        end
      end

      def query(sql, *values)
        with_connection { |connection| connection.exec_params(sql, values.map { |value| value.to_s unless value.nil? }) }
      end

      # Something to call with a block, which sees to its connections itself, as Active Record
      # does; one connection, which threads take in turns; or a pool.  The pool is last,
      # because Rails 7.1 gives every object a method with.
      def with_connection(&block)
        if @connection.respond_to?(:call)
          @connection.call(&block)
        elsif PG::Connection === @connection
          @lock.synchronize { yield connected(@connection) }
        else
          @connection.with { |connection| yield connected(connection) }
        end
      end

      # A connection that broke in an earlier request, as when the server restarts, is made
      # anew.  pg's own reset closes one for good if the server is still away.
      def connected(connection)
        if connection.status == PG::CONNECTION_BAD
          connection.sync_reset
          raise PG::ConnectionBad, connection.error_message unless connection.status == PG::CONNECTION_OK

          connection.set_default_encoding
        end
        connection
      end
    end

    # Rack's sessions in PostgreSQL, kept by narvik.
    class Narvik < Abstract::PersistedSecure
      include NarvikStore
    end
  end
end
