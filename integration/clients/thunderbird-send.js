// Runs within Thunderbird, in its chrome context: finds an account's settings as its account hub does, makes the account of them, and
// sends a message by each of the outgoing servers. Arguments: address, password, CA in PEM, recipient; and Marionette's callback.
const [address, password, ca, to, done] = arguments;
const { classes: Cc, interfaces: Ci } = Components;
const from = name => ChromeUtils.importESModule(`resource:///modules/${name}.sys.mjs`);

async function run() {
	const der = ca.replace(/-----[^-]+-----|\s/g, "");
	Cc["@mozilla.org/security/x509certdb;1"].getService(Ci.nsIX509CertDB).addCertFromBase64(der, "C,,");
	const { FetchConfig } = from("accountcreation/FetchConfig");
	const { AccountConfig } = from("accountcreation/AccountConfig");
	const { CreateInBackend } = from("accountcreation/CreateInBackend");
	const { MailServices } = from("MailServices");

	const found = await FetchConfig.fromISP(address.split("@")[1], address, new AbortController().signal);
	const said = ["found " + found.subSource];
	const ways = [found.outgoing, ...found.outgoingAlternatives];
	for (const way of ways) {
		const config = found.copy();
		config.outgoing = way;
		config.outgoing.addThisServer = true;
		config.rememberPassword = true;
		AccountConfig.replaceVariables(config, "Alice", address, password);
		config.incoming.password = config.outgoing.password = password;
		const account = await CreateInBackend.createAccountInBackend(config);
		account.incomingServer.doBiff = false; // which this test has none of
		const identity = account.defaultIdentity;
		identity.doFcc = false;
		const fields = Cc["@mozilla.org/messengercompose/composefields;1"].createInstance(Ci.nsIMsgCompFields);
		fields.from = address;
		fields.to = to;
		fields.subject = `by port ${way.port}`;
		const send = Cc["@mozilla.org/messengercompose/send;1"].createInstance(Ci.nsIMsgSend);
		await new Promise((resolve, reject) => {
			const listener = {
				QueryInterface: ChromeUtils.generateQI(["nsIMsgSendListener"]),
				onStartSending() {}, onProgress() {}, onSendProgress() {}, onStatus() {}, onGetDraftFolderURI() {}, onTransportSecurityError() {},
				onSendNotPerformed(id, status) { reject(new Error(`not sent: 0x${status.toString(16)}`)); },
				onStopSending(id, status, text) { if (status) reject(new Error(`port ${way.port}: 0x${status.toString(16)} ${text}`)); else resolve(); },
			};
			send.createAndSendMessage(null, identity, account.key, fields, false, false, Ci.nsIMsgCompDeliverMode.Now, null, "text/plain", `port ${way.port}\r\n`, null, null, listener, "", "", Ci.nsIMsgCompType.New)
				.catch(reject);
		});
		const server = MailServices.outgoingServer.getServerByKey(identity.smtpServerKey).QueryInterface(Ci.nsISmtpServer);
		said.push(`sent by ${server.hostname}:${server.port} socket ${server.socketType} auth ${server.authMethod} as ${server.username}`);
		MailServices.accounts.removeAccount(account, true);
		MailServices.outgoingServer.deleteServer(server);
	}
	return said.join("\n") + "\n";
}
run().then(done, e => done(`failed: ${e} ${e && e.stack}`));
