// Has Thunderbird's own code read the autoconfig document on standard input, and prints the account that it makes of it. The
// directory has Thunderbird's modules, as the test took them out of omni.ja; what the rest of Thunderbird gives them is below.
import { pathToFileURL } from "node:url";
import { createRequire } from "node:module";
import fs from "node:fs";
import path from "node:path";

const [dir, address] = process.argv.slice(2);
const { DOMParser } = createRequire(import.meta.url)("@xmldom/xmldom");

const modules = {
  "AccountCreationUtils.mjs": {
    AccountCreationUtils: {
      assert(ok, what) {
        if (!ok) {
          throw new Error(what);
        }
      },
    },
  },
};
globalThis.ChromeUtils = {
  defineESModuleGetters(target, names) {
    for (const [name, url] of Object.entries(names)) {
      Object.defineProperty(target, name, { get: () => modules[path.basename(url)][name] });
    }
  },
  defineLazyGetter(target, name, make) {
    Object.defineProperty(target, name, { get: make });
  },
};
globalThis.Localization = class {
  formatValueSync(id) {
    return id;
  }
};
globalThis.Cu = { isInAutomation: false };
globalThis.Services = { prefs: { getBoolPref: () => false } };
globalThis.dump = console.error;
// Its interfaces' numbers, by name.
globalThis.Ci = {
  nsMsgSocketType: { plain: "plain", alwaysSTARTTLS: "STARTTLS", SSL: "SSL" },
  nsMsgAuthMethod: { none: "none", passwordCleartext: "cleartext", passwordEncrypted: "encrypted", GSSAPI: "GSSAPI", NTLM: "NTLM", OAuth2: "OAuth2" },
};

for (const name of fs.readdirSync(dir)) {
  modules[name] = await import(pathToFileURL(path.join(dir, name)));
}
const { readFromXML } = modules["readFromXML.mjs"];
const { JXON } = modules["JXON.mjs"];
const { AccountConfig } = modules["AccountConfig.mjs"];

const document = new DOMParser().parseFromString(fs.readFileSync(0, "utf8"), "text/xml");
const config = readFromXML(JXON.build(document), "test");
AccountConfig.replaceVariables(config, "Alice", address, "");
const server = (s) => `${s.type} ${s.hostname}:${s.port} ${s.socketType} ${s.auth} ${s.username}`;
console.log(config.displayName);
for (const s of [config.incoming, ...config.incomingAlternatives, config.outgoing, ...config.outgoingAlternatives]) {
  console.log(server(s));
}
