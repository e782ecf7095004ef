// Sends a mail with JavaMail, which FairEmail on Android, Jenkins and Jira use; run by Rhino. What to do is in the environment.
var env = java.lang.System.getenv();
var implicit = env.get("IMPLICIT") != "";
var properties = new java.util.Properties();
var protocol = implicit ? "smtps" : "smtp";
var set = { host: env.get("NAME"), port: env.get("PORT"), auth: "true", localhost: "client.example", "starttls.enable": "true", "starttls.required": String(!implicit), "ssl.checkserveridentity": "true" };
for (var name in set) {
  properties.setProperty("mail." + protocol + "." + name, set[name]);
}
var session = Packages.javax.mail.Session.getInstance(properties);
var message = new Packages.javax.mail.internet.MimeMessage(session);
message.setFrom(env.get("FROM"));
message.setRecipients(Packages.javax.mail.Message.RecipientType.TO, env.get("TO"));
message.setSubject("An application writes");
message.setText("Build 12 is broken.\n");
message.saveChanges();
var transport = session.getTransport(protocol);
try {
  transport.connect(env.get("LOGIN"), env.get("PASSWORD"));
  transport.sendMessage(message, message.getAllRecipients());
} catch (e) {
  for (var cause = e.javaException || e; cause; cause = cause.cause) {
    java.lang.System.err.println(cause);
  }
  java.lang.System.exit(1);
}
