{{- /* The pod of a consumer, sample or yours, and of a system of forward. Takes {root, name, image, args, settings, secrets (see
dingbridge.secrets), apps (whether it gets the apps file), files (name of a ConfigMap), resources, placement, volume (true: a claim is named "data")}. */ -}}
{{- define "dingbridge.consumerPod" -}}
{{- include "dingbridge.podSpec" . }}
containers:
  - name: {{ .name }}
    image: {{ include "dingbridge.image" (dict "root" .root "own" .image "name" .name) }}
    imagePullPolicy: {{ .root.Values.image.pullPolicy }}
    args: {{ .args | default (list "consume" .name) | toJson }}
    envFrom:
      - configMapRef:
          name: {{ include "dingbridge.fullname" .root }}
    env:
      - name: ADMIN_HOST
        value: 0.0.0.0
      - name: ADMIN_PORT
        value: "8082"
      {{- include "dingbridge.secretEnv" . | nindent 6 }}
      {{- include "dingbridge.env" .settings | nindent 6 }}
    ports:
      - name: admin
        containerPort: 8082
    # it waits for Kafka and for its database by itself; being restarted would not help it
    startupProbe:
      httpGet: { path: /healthz, port: admin }
      periodSeconds: 2
      failureThreshold: 60
    readinessProbe:
      httpGet: { path: /readyz, port: admin }
      periodSeconds: 10
      timeoutSeconds: 5
    livenessProbe:
      httpGet: { path: /healthz, port: admin }
      periodSeconds: 10
      timeoutSeconds: 5
      failureThreshold: 6
    {{- include "dingbridge.containerSecurity" . | nindent 4 }}
    resources:
      {{- toYaml .resources | nindent 6 }}
    volumeMounts:
      {{- if .files }}
      - name: files
        mountPath: /etc/dingbridge
        readOnly: true
      {{- end }}
      - name: data
        mountPath: /data
      - name: tmp
        mountPath: /tmp
      {{- include "dingbridge.secretMounts" . | nindent 6 }}
volumes:
  {{- with .files }}
  - name: files
    configMap:
      name: {{ . }}
  {{- end }}
  {{- if not .volume }}
  - name: data
    emptyDir: {}
  {{- end }}
  - name: tmp
    emptyDir: {}
  {{- include "dingbridge.secretVolumes" . | nindent 2 }}
{{- end }}
