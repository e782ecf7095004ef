# Sends a mail as GitLab does, with Action Mailer's library. What to do is in the environment. The name in the certificate
# need not resolve: every name leads to this machine.
require "mail"

class << Socket
  alias_method :tcp_as_named, :tcp
  def tcp(_host, ...) = tcp_as_named("127.0.0.1", ...)
end
implicit = !ENV["IMPLICIT"].empty?
mail = Mail.new(from: ENV["FROM"], to: ENV["TO"], subject: "An application writes", body: "Your pipeline has failed.\n")
mail.delivery_method :smtp, address: ENV["NAME"], port: ENV["PORT"].to_i, domain: "client.example", user_name: ENV["LOGIN"], password: ENV["PASSWORD"],
                            authentication: "login", tls: implicit, enable_starttls: !implicit, openssl_verify_mode: "peer", ca_file: ENV["CA"],
                            open_timeout: 60, read_timeout: 60
begin
  mail.deliver!
rescue StandardError => e
  warn "#{e.class}: #{e.message}"
  exit 1
end
