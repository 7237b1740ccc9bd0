{#
    Zendesk in one shape, whoever landed it: `from {{ zendesk('ticket') }}`. Left is the name that staging reads, which
    is Fivetran's; right the path in Zendesk's API, which dlt and Airbyte follow. Names of tables by loader stand as
    `identifier` in models/staging/zendesk/_zendesk__sources.yml.

                    Fivetran                    dlt                          Airbyte
    tables          ticket                      tickets                      tickets
    a moment        timestamp                   timestamp with a zone        text with Z, or timestamp
    domains         domain_name                 children of organizations    list in organizations.domain_names
    satisfaction    ticket_field_history        satisfaction_ratings         satisfaction_ratings
    deleted         _fivetran_deleted           no row                       deleted_at
    landed          _fivetran_synced            _dlt_loads.inserted_at       _airbyte_extracted_at

    A rating is read as a change of the ticket's field satisfaction_score; changes of other fields are Fivetran's only.
#}
{% macro zendesk(table) -%}
    {%- set loader = var('sources').zendesk.loader -%}
    {%- set columns = {
        'organization': ['id', 'name', 'external_id', 'created_at', 'updated_at'],
        'user': ['id', 'organization_id', 'email', 'name', 'role', 'locale', 'time_zone', 'created_at', 'updated_at'],
        'ticket': [
            'id', 'requester_id', 'organization_id', 'subject', 'status', 'type', 'priority', 'created_at', 'updated_at',
        ],
        'ticket_comment': {
            'id': 'id',
            'ticket_id': 'ticket_id',
            'user_id': 'author_id',
            'created': 'created_at',
            'public': 'public',
        },
        'domain_name': {
            'organization_id': 'id',
            'domain_name': 'value',
        } if loader == 'dlt' else {
            'organization_id': 'id',
            'domain_names': 'domain_names',
        } if loader == 'airbyte' else ['organization_id', 'domain_name'],
        'ticket_field_history': ['ticket_id', 'field_name', 'value', 'updated'] if loader == 'fivetran' else {
            'ticket_id': 'ticket_id',
            'value': 'score',
            'updated': 'updated_at',
        },
    } -%}
    {%- set rows = landed(
        'zendesk',
        table,
        columns[table],
        optional=table != 'ticket',
        parent={'table': 'organization', 'key': 'organization_id'} if table == 'domain_name'
    ) -%}
    {%- if table == 'domain_name' and loader == 'airbyte' -%}
    (
        -- of the row of the organisation that was landed last
        select
            organization_id,
            {{ json_list_rows('domain_names') }} as domain_name,
            _landed_at,
            _is_deleted
        from (
            select
                *,
                {{ load_rank('organization_id', '_landed_at') }} as load_rank
            from {{ rows }}
        ) as ranked
        where load_rank = 1
    ) as landed
    {%- elif table == 'ticket_field_history' and loader != 'fivetran' -%}
    (
        select
            *,
            'satisfaction_score' as field_name
        from {{ rows }}
    ) as landed
    {%- else -%}
    {{ rows }}
    {%- endif -%}
{%- endmacro %}
