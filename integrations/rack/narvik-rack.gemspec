# frozen_string_literal: true

Gem::Specification.new do |spec|
  spec.name = 'narvik-rack'
  spec.version = '1.0.0'
  spec.summary = "Sessions of Rack and Rails in PostgreSQL, kept by the extension narvik"
  spec.authors = ['narvik developers']
  spec.license = 'PostgreSQL'
  spec.files = Dir['lib/**/*.rb'] + %w[LICENSE README.md]
  spec.required_ruby_version = '>= 2.7'
  spec.add_dependency 'pg', '>= 1.3'
  # With Rack 3 sessions are a gem of their own, rack-session.
  spec.add_dependency 'rack', '>= 2.2'
end
