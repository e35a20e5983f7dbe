# frozen_string_literal: true

# A page of Rails, whose sessions are narvik's over Active Record's connections.
$LOAD_PATH.unshift(File.expand_path('../lib', __dir__))
require 'rails'
require 'active_record/railtie'
require 'action_controller/railtie'
require 'action_dispatch/session/narvik_store'

ENV['DATABASE_URL'] = 'postgresql:///sessions'

class Page < Rails::Application
  config.load_defaults 6.1
  config.eager_load = false
  config.consider_all_requests_local = true
  config.secret_key_base = 'x' * 64
  config.hosts.clear
  config.logger = Logger.new($stderr, level: Logger::WARN)
  config.session_store :narvik_store, key: 'sid', user: ->(session) { session['user'] }
  routes.append { get '/:action', controller: 'visits' }
end

class VisitsController < ActionController::Base
  def show
    render json: session.to_hash.except('session_id')
  end

  # Where the application has sent its own queries, there are no sessions.
  def show_on_a_replica
    ActiveRecord::Base.connected_to(role: :reading, shard: :second) { show }
  end

  def put
    session[params[:key]] = params[:value]
    head :ok
  end

  # As Devise and others do it: what a guest had in hand is carried over.
  def log_in
    kept = session[:cart]
    reset_session
    session[:cart] = kept
    session[:user] = params[:user]
    redirect_to '/show', notice: 'welcome'
  end

  def flashed
    render plain: flash[:notice].to_s
  end

  def log_out
    reset_session
    head :ok
  end

  # Somebody else's connection, while this request has the session in its hands.
  def log_out_meanwhile
    PG.connect(dbname: 'sessions').exec_params('SELECT narvik_delete_sessions_for_user($1)', [session[:user]])
    session[:late] = 'yes'
    head :ok
  end
end

Page.initialize!
run Page
