# frozen_string_literal: true

require 'action_dispatch'
require 'action_dispatch/middleware/session/abstract_store'
require 'rack/session/narvik'

module ActionDispatch
  module Session
    # Rails' sessions in PostgreSQL, kept by narvik, over Active Record's connections unless
    # there are others.
    class NarvikStore < AbstractSecureStore
      include Rack::Session::NarvikStore

      ACTIVE_RECORD = lambda do |&block|
        ActiveRecord::Base.connection_pool.with_connection { |connection| block.call(connection.raw_connection) }
      end

      def initialize(app, options = {})
        super(app, { connection: ACTIVE_RECORD }.merge(options))
      end
    end
  end
end
