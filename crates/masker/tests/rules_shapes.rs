//! Leaks in the shapes in which programs and people write them down: what must be hidden, exactly, and what must stay.
//! The values are random texts of a kind (`‹base62 20›`), as in the examples of rules.

use std::ops::Range;

use gatewayd_masker::Masker;
use gatewayd_masker::rule::{Rule, Tier};

/// What the default rules hide.
const DEFAULT: &[(&str, &str)] = &[
    // Messages of libraries.
    (
        "boto3, a wrong key id",
        "botocore.exceptions.ClientError: An error occurred (InvalidAccessKeyId) when calling the ListBuckets \
         operation: key «AKIA‹base32 16›» does not exist in our records.",
    ),
    (
        "boto3, arguments in a traceback",
        "client('s3', region_name='eu-west-1', aws_access_key_id='«AKIA‹base32 16›»', \
         aws_secret_access_key='«‹b64 40›»')",
    ),
    (
        "requests, a key in the query",
        "requests.exceptions.HTTPError: 401 Client Error: Unauthorized for url: \
         https://api.example.com/v1/items?api_key=«‹hex 32›»&page=2",
    ),
    (
        "requests, a bot's token in the path",
        "HTTPSConnectionPool(host='api.telegram.org', port=443): Max retries exceeded with url: \
         /bot‹digit 10›:AA«‹url 32›‹base62 1›»/sendMessage",
    ),
    (
        "psycopg2, a URL",
        "psycopg2.OperationalError: invalid dsn: \"postgresql://app:«‹base62 16›»@db.internal:5432/app?sslmode=require\"",
    ),
    (
        "psycopg2, words",
        "psycopg2.connect(\"host=db.internal dbname=app user=app password=«‹base62 14›» port=5432\")",
    ),
    (
        "SQLAlchemy, an engine",
        "Engine(mysql+pymysql://root:«‹base62 12›»@127.0.0.1:3306/shop?charset=utf8mb4)",
    ),
    (
        "redis-py",
        "ConnectionError: Error 111 connecting to redis://default:«‹base62 20›»@cache:6379/0. Refused.",
    ),
    (
        "Kafka, JAAS",
        "sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required username=\"app\" \
         password=\"«‹base62 10›7x»\";",
    ),
    (
        "pymongo",
        "ServerSelectionTimeoutError: mongodb+srv://svc:«‹base62 18›»@c0.ab1cd.mongodb.net/?retryWrites=true",
    ),
    (
        "celery",
        "[ERROR/MainProcess] consumer: Cannot connect to amqp://worker:«‹base62 12›»@mq:5672//: timed out.",
    ),
    (
        "keyword arguments",
        "pymysql.connect(host='db', user='app', password='«q8‹base62 9›»', database='app')",
    ),
    // Dumps of environments and of state.
    (
        "docker inspect",
        "\"Env\": [\n  \"POSTGRES_USER=app\",\n  \"POSTGRES_PASSWORD=«k7‹base62 12›»\",\n  \"PATH=/usr/local/bin:/usr/bin\",\n  \
         \"AWS_SECRET_ACCESS_KEY=«‹b64 40›»\",\n  \"LANG=C.UTF-8\"\n]",
    ),
    (
        ".env",
        "DEBUG=false\nPORT=8080\nDATABASE_URL=postgres://app:«‹base62 16›»@db/app\nSTRIPE_SECRET_KEY=«sk_live_‹base62 24›»\n\
         SESSION_SECRET=«‹hex 64›»\nMAIL_PASS=«w9‹base62 10›»\nLOG_LEVEL=info\n",
    ),
    (
        "kubectl get secret -o yaml",
        "apiVersion: v1\ndata:\n  password: «‹b64 22›w=»\n  username: «‹b64 16›»\nkind: Secret\nmetadata:\n  name: db\n  \
         namespace: app\ntype: Opaque\n",
    ),
    (
        "a manifest",
        "apiVersion: v1\nkind: Secret\nmetadata:\n  name: api\n  labels:\n    app: web\ntype: Opaque\ndata:\n  \
         one: «‹b64 20›»\n  two: «‹b64 40›»\n  three: «‹b64 25›w==»\n",
    ),
    (
        "terraform state",
        "\"attributes\": {\n  \"id\": \"db-1\",\n  \"master_password\": \"«x4‹base62 20›7Qz»\",\n  \
         \"access_token\": \"«‹base62 36›»\",\n  \"engine\": \"postgres\"\n}",
    ),
    (
        "a compose file",
        "    environment:\n      MYSQL_ROOT_PASSWORD: «r7‹base62 12›»\n      MYSQL_DATABASE: shop\n",
    ),
    (
        "Spring",
        "spring.datasource.username=app\nspring.datasource.password=«x9RtQ‹base62 8›»\nserver.port=8080\n",
    ),
    (
        "a deployment",
        "env:\n- name: DB_USER\n  value: app\n- name: DB_PASSWORD\n  value: \"«h7‹base62 12›»\"\n- name: MODE\n  value: prod\n",
    ),
    (
        "a task definition",
        "{\"name\": \"API_TOKEN\", \"value\": \"«t4‹base62 30›»\"}, {\"name\": \"PORT\", \"value\": \"8080\"}",
    ),
    ("Laravel", "APP_NAME=Shop\nAPP_KEY=«base64:4‹b64 42›=»\nAPP_URL=http://localhost\n"),
    ("systemd", "Environment=\"API_TOKEN=«t5‹base62 30›»\" \"MODE=prod\""),
    (
        "GitHub Actions, an echo of the environment",
        "  env:\n    CI: true\n    NPM_TOKEN: «npm_‹base62 30›‹crc32›»\n    NODE_VERSION: 22\n",
    ),
    // Commands.
    (
        "a presigned URL",
        "https://b.s3.amazonaws.com/k?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Expires=900&X-Amz-Signature=«‹hex 64›»",
    ),
    ("PsExec", "psexec \\\\10.0.0.4 -u Administrator -p «‹lower 9›» cmd /c whoami"),
    ("git remote -v", "origin\thttps://«ghp_‹base62 30›‹crc32›»@github.com/acme/app.git (fetch)"),
    (
        "git remote, a user and a token",
        "url = https://oauth2:«glpat-‹url 19›‹base62 1›»@gitlab.com/acme/app.git",
    ),
    (
        "curl, a bearer",
        "curl -sS https://api.example.com/v1/me -H 'Authorization: Bearer «‹base62 48›»' | jq .",
    ),
    ("curl, a user", "curl -u deploy:«‹base62 14›» https://repo.example.com/x.tgz -O"),
    (
        "curl, a key for a user",
        "curl https://api.example.com/v1/charges -u «sk_test_‹base62 24›»: -d amount=5",
    ),
    (
        "curl, a form",
        "curl -d 'grant_type=client_credentials&client_id=app&client_secret=«‹base62 40›»' https://h/token",
    ),
    ("mysql", "mysqldump -h db -u root -p«s3‹base62 10›» shop > dump.sql"),
    ("psql", "PGPASSWORD=«p4‹base62 12›» psql -h db -U app -c 'select 1'"),
    ("sshpass", "sshpass -p '«7x‹base62 10›»' ssh -o StrictHostKeyChecking=no root@10.0.0.5"),
    ("redis-cli", "redis-cli -h cache -p 6379 -a «9‹base62 24›» INFO"),
    (
        "kubeadm",
        "kubeadm join 10.0.0.1:6443 --token «‹b36 6›.4‹b36 15›» --discovery-token-ca-cert-hash sha256:‹hex 64›",
    ),
    ("PowerShell", "$p = ConvertTo-SecureString \"«P4x‹base62 9›!»\" -AsPlainText -Force"),
    ("docker login", "echo «dckr_pat_‹url 27›» | docker login -u acme --password-stdin"),
    // Dumps of HTTP.
    (
        "a request",
        "> GET /v1/x HTTP/1.1\n> Host: api.example.com\n> Authorization: Basic «‹basic›»\n> Accept: */*\n",
    ),
    ("a key and no password", "Authorization: Basic «‹basic-key›»\n"),
    ("a cookie", "Cookie: theme=dark; sessionid=«‹b36 32›»; lang=en"),
    (
        "an answer",
        "< HTTP/2 200\n< set-cookie: connect.sid=«s%3A‹base62 32›.‹base62 43›»; Path=/; HttpOnly\n< etag: W/\"5-x\"\n",
    ),
    ("a header of a service", "X-Api-Key: «‹base62 40›»\nX-Request-Id: ‹uuid›\n"),
    (
        "an OAuth answer",
        "{\"token_type\":\"Bearer\",\"expires_in\":3600,\"access_token\":\"«‹url 60›7aB3»\"}",
    ),
    // Key files.
    (
        "PEM",
        "«-----BEGIN RSA PRIVATE KEY-----\n‹b64 64›\n‹b64 64›\n‹b64 42›==\n-----END RSA PRIVATE KEY-----»\nDone.\n",
    ),
    (
        "PEM with spelled line ends",
        "\"key\": \"«-----BEGIN PRIVATE KEY-----\\n‹b64 64›\\n‹b64 64›\\n‹b64 22›==\\n-----END PRIVATE KEY-----»\\n\", \"a\": 1",
    ),
    (
        "a service account",
        "\"type\": \"service_account\",\n\"project_id\": \"acme-prod\",\n\"private_key_id\": \"«‹hex 40›»\",\n\"private_key\": \
         \"«-----BEGIN PRIVATE KEY-----\\nMII‹b64 61›\\n‹b64 30›==\\n-----END PRIVATE KEY-----»\\n\",\n\"client_email\": \"a@b.example\"",
    ),
    (
        "OpenSSH",
        "$ cat ~/.ssh/id_ed25519\n«-----BEGIN OPENSSH PRIVATE KEY-----\n‹b64 70›\n‹b64 70›\n‹b64 34›==\n\
         -----END OPENSSH PRIVATE KEY-----»\n$ ",
    ),
    (
        "PGP",
        "«-----BEGIN PGP PRIVATE KEY BLOCK-----\n\n‹b64 64›\n‹b64 64›\n=‹b64 4›\n-----END PGP PRIVATE KEY BLOCK-----»\n",
    ),
    ("age", "# created: 2025-01-01T00:00:00Z\n# public key: age1‹b36 58›\n«AGE-SECRET-KEY-1‹bech32 58›»\n"),
    (
        "WireGuard",
        "[Interface]\nPrivateKey = «‹b64 42›Q=»\nAddress = 10.0.0.2/32\n[Peer]\nPublicKey = ‹b64 42›A=\n",
    ),
    (
        "kubeconfig",
        "    certificate-authority-data: LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0tCk‹b64 200›\n    client-key-data: \
         «LS0tLS1CRUdJTiBSU0EgUFJJVkFURSBLRVktLS0tLQpN‹b64 400›=»\n    token: «‹jwt›»\n",
    ),
    // Key files in notations of their own.
    (
        "a JWK, curve first",
        "{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"‹url 43›\",\"y\":\"‹url 43›\",\"d\":\"«‹url 42›7»\"}",
    ),
    (
        "a JWK of RSA",
        "{\"kty\":\"RSA\",\"n\":\"‹url 342›\",\"e\":\"AQAB\",\"d\":\"«‹url 342›»\",\"p\":\"«‹url 171›»\",\"q\":\"«‹url 171›»\"}",
    ),
    ("a JWK, symmetric", "{\"kty\":\"oct\",\"k\":\"«‹url 42›7»\",\"alg\":\"HS256\"}"),
    (
        "PEM in a log",
        "2024-01-01T00:00:00Z app[1]: «-----BEGIN PRIVATE KEY-----\n2024-01-01T00:00:00Z app[1]: ‹b64 64›\n\
         2024-01-01T00:00:00Z app[1]: ‹b64 64›\n2024-01-01T00:00:00Z app[1]: -----END PRIVATE KEY-----»\n",
    ),
    (
        "PEM, escaped twice",
        "\"«-----BEGIN PRIVATE KEY-----\\\\n‹b64 64›\\\\n‹b64 64›\\\\n-----END PRIVATE KEY-----»\\\\n\"",
    ),
    (
        "PEM in XML",
        "<k>«-----BEGIN PRIVATE KEY-----&#xA;‹b64 64›&#xA;‹b64 64›&#xA;-----END PRIVATE KEY-----»</k>",
    ),
    (
        "PEM in a form",
        "key=«-----BEGIN%20PRIVATE%20KEY-----%0D%0A‹b64 64›%0D%0A‹b64 64›%0D%0A-----END%20PRIVATE%20KEY-----»&x=1",
    ),
    (
        "PEM in PowerShell",
        "\"«-----BEGIN PRIVATE KEY-----`n‹b64 64›`n‹b64 64›`n-----END PRIVATE KEY-----»`n\"",
    ),
    (
        "PEM in a shell",
        "$'«-----BEGIN PRIVATE KEY-----\\n'$'‹b64 64›\\n'$'‹b64 64›\\n'$'-----END PRIVATE KEY-----»'",
    ),
    (
        "PEM in colours",
        "\u{1b}[32m«-----BEGIN PRIVATE KEY-----\u{1b}[0m\n\u{1b}[32m‹b64 64›\u{1b}[0m\n\u{1b}[32m‹b64 64›\u{1b}[0m\n\
         \u{1b}[32m-----END PRIVATE KEY-----»\u{1b}[0m\n",
    ),
    // Other notations.
    ("a user that is an address", "smtp://ann@corp.example:«k‹base62 14›»@smtp.example.com:587"),
    ("a password with a question mark", "https://root:«s‹base62 5›?x7»@h.example/x"),
    (
        "a manifest with CRLF",
        "kind: Secret\r\nmetadata:\r\n  name: db\r\ntype: Opaque\r\ndata:\r\n  one: «‹b64 20›»\r\n  two: «‹b64 40›»\r\n",
    ),
    (
        "a manifest in JSON",
        "{\"apiVersion\":\"v1\",\"kind\":\"Secret\",\"data\":{\"one\":\"«‹b64 23›7»\",\"two\":\"«‹b64 40›»\"}}",
    ),
    ("a header as a pair", "{\"name\":\"X-Api-Key\",\"value\":\"«t4‹base62 30›»\"}"),
    ("a bare session", "PHPSESSID=«‹b36 26›»"),
    ("bold in prose", "Your API key is **«‹base62 40›»**, keep it."),
    // Files of credentials.
    (
        "AWS",
        "[default]\naws_access_key_id = «ASIA‹base32 16›»\naws_secret_access_key = «‹b64 40›»\naws_session_token = \
         «IQoJb3JpZ2lu‹b64 300›==»\nregion = eu-west-1\n",
    ),
    (
        ".npmrc",
        "registry=https://registry.npmjs.org/\n//registry.npmjs.org/:_authToken=«npm_‹base62 30›‹crc32›»\n",
    ),
    (".pypirc", "[pypi]\nusername = __token__\npassword = «pypi-AgEIcHlwaS5vcmc‹url 120›»\n"),
    (".netrc", "machine api.example.com\n  login bob\n  password «‹base62 16›»\n"),
    (".pgpass", "db.internal:5432:app:app:«k3‹base62 12›»\n"),
    ("docker config.json", "{\"auths\": {\"r.example.com\": {\"auth\": \"«‹basic›»\"}}}"),
    ("htpasswd", "bob:«$apr1$‹base62 8›$‹base62 22›»\nann:«{SHA}‹b64 26›Q=»\n"),
    ("/etc/shadow", "root:«$6$‹base62 16›$‹base62 86›»:19000:0:99999:7:::\n"),
    (
        "tomcat-users.xml",
        "<user username=\"admin\" password=\"«t5‹base62 10›»\" roles=\"manager-gui,admin-gui\"/>",
    ),
    (
        "settings.xml",
        "<server><id>nexus</id><username>ci</username><password>«‹base62 16›»</password></server>",
    ),
    // Connection strings.
    (
        "Azure storage",
        "DefaultEndpointsProtocol=https;AccountName=acme;AccountKey=«‹b64 86›==»;EndpointSuffix=core.windows.net",
    ),
    (
        "ADO",
        "Server=tcp:db.example.net,1433;Initial Catalog=app;User ID=app;Password=«‹base62 14›!»;Encrypt=True;",
    ),
    (
        "JDBC, SQL Server",
        "jdbc:sqlserver://db:1433;databaseName=app;user=sa;password=«‹base62 14›»;encrypt=true",
    ),
    ("JDBC, PostgreSQL", "jdbc:postgresql://db:5432/app?ssl=true&user=app&password=«‹base62 14›»"),
    ("JDBC, Oracle", "jdbc:oracle:thin:scott/«t1‹base62 8›»@//db:1521/ORCL"),
    // Programs.
    (
        "Django",
        "DEBUG = False\nSECRET_KEY = '«django-insecure-‹b36 30›@$#%^&*(‹b36 12›»'\nALLOWED_HOSTS = []\n",
    ),
    ("Rails", "$ cat config/master.key: «‹hex 32›»\nproduction:\n  secret_key_base: «‹hex 128›»\n"),
    (
        "WordPress",
        "define('DB_USER', 'wp');\ndefine('DB_PASSWORD', '«k4‹base62 9›»');\ndefine('DB_HOST', 'db');\n",
    ),
    ("Go", "os.Setenv(\"ACME_API_TOKEN\", \"«‹base62 40›»\")"),
    ("Ruby", "Acme.configure { |c| c.api_key = '«‹hex 32›»' }"),
    (".NET", "<add key=\"MailApiKey\" value=\"«‹base62 40›»\" />"),
    ("a JWT's secret", "JWT_SECRET=«n7‹base62 40›»\nJWT_EXPIRES=15m\n"),
    (
        "a webhook",
        "Posting to https://hooks.slack.com/services/«T‹B36 10›/B‹B36 10›/‹base62 24›» failed: 404",
    ),
    // Words of a model.
    ("prose", "Sure! Your API key is `«‹base62 40›»`. Keep it safe."),
    ("Markdown", "| Setting | Value |\n|---|---|\n| API key | `«‹hex 40›»` |\n| Region | eu |\n"),
    ("bold", "1. **Access token:** «‹base62 48›»\n2. **Region:** eu-west-1\n"),
    ("an idempotency token", "\"clientRequestToken\": \"‹uuid›\", \"nextToken\": null"),
    ("a password in prose", "The password is `«Tr0u‹base62 6›&3»`, as you asked."),
];

/// What the rules for assignments hide beside.
const ASSIGNMENTS: &[(&str, &str)] = &[
    ("a weak password in quotes", "password = '«correcthorse»'"),
    ("a password in YAML", "db:\n  user: app\n  password: «hunter‹digit 3›»\n"),
    (".pypirc with a password", "username = bob\npassword = «tr0ub4dor‹digit 1›»\n"),
    ("a flag", "tool --token «‹b36 16›4x» run"),
    ("a key of any name", "weather key: «‹hex 20›»"),
    ("a default in Terraform", "variable \"db_password\" {\n  default = \"«s3cretword‹digit 2›»\"\n}\n"),
];

/// What nothing of it may be hidden, with any rule.
const CLEAN: &[(&str, &str)] = &[
    ("a commit", "commit ‹hex 40›\nAuthor: Ann <ann@example.com>\nDate:   Mon Jan 6 10:00:00 2025 +0100\n"),
    (
        "integrity",
        "\"integrity\": \"sha512-‹b64 86›==\",\n\"resolved\": \"https://registry.npmjs.org/x/-/x-1.0.0.tgz\"",
    ),
    ("an image", "image: registry.example.com/app@sha256:‹hex 64›"),
    ("a go.sum", "golang.org/x/net v0.30.0 h1:‹b64 43›=\ngolang.org/x/net v0.30.0/go.mod h1:‹b64 43›=\n"),
    (
        "ids",
        "{\"id\": \"‹uuid›\", \"trace_id\": \"‹hex 32›\", \"span_id\": \"‹hex 16›\", \"etag\": \"‹hex 32›\"}",
    ),
    ("a picture", "<img src=\"data:image/png;base64,iVBORw0KGgo‹b64 200›==\" alt=\"x\">"),
    ("a drawing", "<path d=\"M12 0c-6.6 0-12 5.4-12 12s5.4 12 12 12 12-5.4 12-12z\"/>"),
    (
        "minified",
        "!function(e,t){var n=e.token||t.secret;n&&(e.password=t.getPassword(n),e.apiKey=t.opts.apiKey)}(this,x);",
    ),
    (
        "a certificate",
        "-----BEGIN CERTIFICATE-----\n‹b64 64›\n‹b64 64›\n‹b64 20›==\n-----END CERTIFICATE-----\n",
    ),
    ("a public key", "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI‹b64 43› ann@host\n"),
    ("known hosts", "github.com ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABgQC‹b64 300›=\n"),
    ("a denial", "java.sql.SQLException: Access denied for user 'app'@'10.0.0.1' (using password: YES)"),
    (
        "a hidden key",
        "openai.AuthenticationError: Incorrect API key provided: sk-proj-****************************abcd.",
    ),
    ("a hidden password", "postgresql://app:***@db.internal:5432/app"),
    ("a template", "postgres://user:password@host:5432/db or redis://:${REDIS_PASSWORD}@cache:6379/0"),
    (
        "variables",
        "export API_KEY=$VAULT_KEY\nDB_PASSWORD=${DB_PASSWORD:?}\ntoken: ${{ secrets.GITHUB_TOKEN }}\n",
    ),
    (
        "documentation",
        "Set `password` to your password, `api_key=<YOUR_API_KEY>` and `token: YOUR_TOKEN_HERE`.",
    ),
    (
        "the sample of AWS",
        "aws_access_key_id=AKIAIOSFODNN7EXAMPLE\naws_secret_access_key=wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY\n",
    ),
    (
        "types",
        "interface Login { password: string; token?: string; apiKey: Option<String>; secret: Vec<u8> }",
    ),
    (
        "a program",
        "const token = await getAccessToken(req.headers.authorization); user.password = hash(password);",
    ),
    (
        "figures of a model",
        "{\"max_tokens\": 4096, \"completion_tokens\": 128, \"finish_reason\": \"stop\", \"seed\": 1234567890}",
    ),
    ("defaults", "amqp://guest:guest@localhost:5672/ and postgres://postgres:postgres@localhost:5432/app"),
    (
        "an address of a secret",
        "arn:aws:secretsmanager:us-east-1:123456789012:secret:MyTestDatabaseSecret-a1b2c3",
    ),
    ("short members", "{\"d\":\"M12 0c-6.6 0\",\"k\":\"some-name\",\"p\":\"‹hex 64›\",\"id\":\"‹url 43›\"}"),
    ("PuTTY's header", "A file starts with PuTTY-User-Key-File-3: ssh-rsa and then the rest of it is text."),
    ("a digest", "api_key=sha256:‹hex 64›"),
    ("a config map", "apiVersion: v1\ndata:\n  color: blue\n  LOG_LEVEL: debug\nkind: ConfigMap\n"),
    (
        "prose",
        "The token is short-lived. A secret key is derived from the password; see the API key section for details.",
    ),
];

fn masker(tiers: &[Tier]) -> Masker {
    Masker::builder().tiers(tiers.iter().copied()).build().expect("the built-in rules compile")
}

/// The text of a shape, with its random values, and what is marked in it.
fn concrete(shape: &str, seed: u64) -> (String, Vec<Range<usize>>) {
    // A text without marks is a secret as a whole; this mark is taken off again.
    let whole = if shape.contains('«') { shape.to_owned() } else { format!("{shape}«.»") };
    let rule = Rule { id: "shape".into(), positive: vec![whole], ..Rule::default() };
    let example = rule.positives(seed).expect("the marks are right").remove(0);
    let mut text = String::from_utf8(example.text).expect("UTF-8");
    if shape.contains('«') {
        return (text, example.secrets);
    }
    text.pop();
    (text, Vec::new())
}

/// What is found, as the stretches of text that the placeholders stand for.
fn hidden(masker: &Masker, text: &str) -> Vec<Range<usize>> {
    let mut ranges: Vec<Range<usize>> =
        masker.find(text.as_bytes()).into_iter().map(|finding| finding.range).collect();
    ranges.sort_by_key(|range| range.start);
    let mut union: Vec<Range<usize>> = Vec::new();
    for range in ranges {
        match union.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => union.push(range),
        }
    }
    union
}

fn show(text: &str, ranges: &[Range<usize>]) -> Vec<String> {
    ranges.iter().map(|range| text.get(range.clone()).unwrap_or("(not whole letters)").to_owned()).collect()
}

/// The shapes of a list that are not hidden as marked, with three random texts each.
fn wrong(masker: &Masker, shapes: &[(&str, &str)]) -> Vec<String> {
    let mut wrong = Vec::new();
    for (name, shape) in shapes {
        for seed in 0..3 {
            let (text, marked) = concrete(shape, seed);
            let found = hidden(masker, &text);
            if found != marked {
                let (found, marked) = (show(&text, &found), show(&text, &marked));
                wrong.push(format!("{name} ({seed}):\n  {text:?}\n  hides {found:?}\n  not   {marked:?}"));
            }
        }
    }
    wrong
}

#[test]
fn the_default_rules_hide_what_is_marked_and_no_more() {
    let wrong = wrong(&masker(&[Tier::Default]), DEFAULT);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_rules_for_assignments_hide_the_rest() {
    let both = masker(&[Tier::Default, Tier::Assignments]);
    let wrong = wrong(&both, ASSIGNMENTS);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let alone = masker(&[Tier::Default]);
    for (name, shape) in ASSIGNMENTS {
        let (text, _) = concrete(shape, 0);
        assert!(hidden(&alone, &text).is_empty(), "{name} is found by default, list it there");
    }
}

#[test]
fn the_rules_for_assignments_take_nothing_from_the_default_ones() {
    let both = masker(&[Tier::Default, Tier::Assignments]);
    for (name, shape) in DEFAULT {
        let (text, marked) = concrete(shape, 0);
        let found = hidden(&both, &text);
        for range in marked {
            let covered = found.iter().any(|hidden| hidden.start <= range.start && range.end <= hidden.end);
            assert!(covered, "{name}: {text:?}");
        }
    }
}

#[test]
fn a_key_without_an_end_does_not_take_the_rest_of_the_text() {
    let masker = masker(&[Tier::Default]);
    let (pem, _) = concrete("-----BEGIN RSA PRIVATE KEY-----\n‹b64 64›\n‹b64 64›\n", 0);
    let putty = "PuTTY-User-Key-File-3: ssh-ed25519\nEncryption: none\nComment: k\nPublic-Lines: 1\n‹b64 40›\n\
                 Private-Lines: 1\n‹b64 48›\n";
    let (putty, _) = concrete(putty, 0);
    for head in [&pem, &putty] {
        for line in [
            "Now the text goes on. It costs 5 euros.\n",
            "fn main() { println!(\"hi\"); }\n",
            "item7: value9\n",
            "a1,b2,c3,4\n",
            "THIS IS LOUD\n",
            "这是一个正常的中文文本，没有秘密。\n",
            "| A1 | B2 |\n",
            "1 + 2 = 3\n",
            "foo:\n  bar: 1\n",
        ] {
            let text = format!("{head}{}", line.repeat(60));
            let hidden: usize = hidden(&masker, &text).iter().map(ExactSizeIterator::len).sum();
            assert!(hidden >= head.len() - 64 && hidden < head.len() + 256, "{hidden} bytes before {line:?}");
        }
    }
}

#[test]
fn ordinary_texts_stay_as_they_are() {
    for tiers in [&[Tier::Default][..], &[Tier::Default, Tier::Assignments]] {
        let wrong = wrong(&masker(tiers), CLEAN);
        assert!(wrong.is_empty(), "{tiers:?}\n{}", wrong.join("\n"));
    }
}

#[test]
fn a_rule_that_took_something_of_an_ordinary_text_would_be_seen() {
    for row in CLEAN {
        let (text, _) = concrete(row.1, 0);
        let head: String = text.chars().take(4).collect();
        let rule = Rule {
            id: "wide".into(),
            description: "The beginning of the text".into(),
            pattern: head.bytes().map(|byte| format!("\\x{byte:02x}")).collect(),
            anchors: vec![head],
            ..Rule::default()
        };
        let masker = Masker::builder().rules([rule]).build().expect("a literal");
        assert!(!wrong(&masker, &[*row]).is_empty(), "{}", row.0);
    }
}
