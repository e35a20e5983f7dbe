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
        base = ActiveRecord::Base
        # The same one for all of a request, whatever role and shard the application has gone to.
        pool = base.connection_handler.retrieve_connection_pool(
          base.connection_specification_name, role: base.default_role, shard: base.default_shard
        )
        (pool || base.connection_pool).with_connection { |connection| block.call(connection.raw_connection) }
      end

      def initialize(app, options = {})
        super(app, { connection: ACTIVE_RECORD }.merge(options))
      end
    end
  end
end
