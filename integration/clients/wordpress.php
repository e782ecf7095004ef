<?php
// Has WordPress's own wp_mail send a mail, set up by the lines of docs/clients.md. What to do is in the environment. WordPress is
// not installed, so that what comes from its database is below; the name in the certificate need not resolve: it is given to TLS.
define('ABSPATH', getenv('WORDPRESS') . '/');
define('WPINC', 'wp-includes');
define('MSA_PASSWORD', getenv('PASSWORD'));
function get_bloginfo($show) { return 'UTF-8'; }
function network_home_url() { return 'https://example.org'; }
function wp_parse_url($url, $component) { return parse_url($url, $component); }
foreach (['load', 'plugin', 'class-wp-error', 'formatting', 'pluggable'] as $file) {
    require ABSPATH . WPINC . "/$file.php";
}

add_action('phpmailer_init', function ($mail) {
    $mail->isSMTP();
    $mail->Host       = '127.0.0.1';
    $mail->Port       = (int) getenv('PORT');
    $mail->SMTPSecure = getenv('IMPLICIT') ? 'ssl' : 'tls';
    $mail->SMTPAuth   = true;
    $mail->Username   = getenv('LOGIN');
    $mail->Password   = MSA_PASSWORD;

    $mail->Hostname    = 'client.example';
    $mail->SMTPOptions = ['ssl' => ['cafile' => getenv('CA'), 'peer_name' => getenv('NAME')]];
    $mail->SMTPDebug   = 2;
});
add_filter('wp_mail_from', fn() => getenv('FROM'));

exit(wp_mail(getenv('TO'), 'An application writes', "Somebody asked for a new password.\n") ? 0 : 1);
