<?php
// Sends a mail as WordPress does, with PHPMailer. What to do is in the environment. The name in the certificate need not
// resolve: it is given to TLS.
require '/usr/share/php/libphp-phpmailer/autoload.php';
use PHPMailer\PHPMailer\PHPMailer;

$mail = new PHPMailer(true);
try {
    $mail->isSMTP();
    $mail->Host = '127.0.0.1';
    $mail->Port = (int) getenv('PORT');
    $mail->Hostname = 'client.example';
    $mail->SMTPSecure = getenv('IMPLICIT') ? PHPMailer::ENCRYPTION_SMTPS : PHPMailer::ENCRYPTION_STARTTLS;
    $mail->SMTPOptions = ['ssl' => ['cafile' => getenv('CA'), 'peer_name' => getenv('NAME')]];
    $mail->SMTPAuth = true;
    $mail->Username = getenv('LOGIN');
    $mail->Password = getenv('PASSWORD');
    $mail->SMTPDebug = 2;
    $mail->setFrom(getenv('FROM'), 'WordPress');
    $mail->addAddress(getenv('TO'));
    $mail->Subject = 'An application writes';
    $mail->Body = "Somebody asked for a new password.\n";
    $mail->send();
} catch (Exception $e) {
    fwrite(STDERR, $e->getMessage() . "\n");
    exit(1);
}
