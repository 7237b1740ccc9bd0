{{ config(
    materialized='incremental',
    incremental_strategy='append',
    on_schema_change='append_new_columns',
    full_refresh=false,
) }}

-- The memory of identity: every address that a record was ever seen with. Loaders overwrite an address that changed; here
-- the old one stays, so that whoever had it keeps the id made from it. A full refresh does not empty it: drop it by hand.
with

identifies as (

    select *
    from {{ sources_union(
        {'segment': 'stg_segment__identifies', 'posthog': 'stg_posthog__identifies'},
        {'user_id': dbt.type_string(), 'email': dbt.type_string(), 'occurred_at': dbt.type_timestamp()},
    ) }}

),

crm_contacts as (

    select *
    from {{ sources_union(
        {'hubspot': 'stg_hubspot__contacts', 'salesforce': 'stg_salesforce__contacts'},
        {
            'record_id': dbt.type_string(),
            'email': dbt.type_string(),
            'created_at': dbt.type_timestamp(),
            'loaded_at': dbt.type_timestamp(),
        },
        {
            'hubspot': {'record_id': 'hubspot_contact_id'},
            'salesforce': {'record_id': 'salesforce_contact_id'},
        },
    ) }}

),

requesters as (

    select *
    from {{ sources_union(
        {'zendesk': 'stg_zendesk__users', 'intercom': 'stg_intercom__contacts'},
        {
            'record_id': dbt.type_string(),
            'email': dbt.type_string(),
            'created_at': dbt.type_timestamp(),
            'loaded_at': dbt.type_timestamp(),
        },
        {'zendesk': {'record_id': 'zendesk_user_id'}, 'intercom': {'record_id': 'intercom_contact_id'}},
    ) }}

),

seen as (

    select
        'product_user' as record_kind,
        user_id as record_id,
        email,
        min(occurred_at) as first_seen_at,
        min(occurred_at) as changed_at
    from identifies
    where
        user_id is not null
        and email is not null
    group by user_id, email

    union all

    select
        {{ dbt.concat(['source_name', "'_contact'"]) }} as record_kind,
        record_id,
        email,
        created_at as first_seen_at,
        loaded_at as changed_at
    from crm_contacts
    where email is not null

    union all

    select
        {{ dbt.concat(['source_name', "'_requester'"]) }} as record_kind,
        record_id,
        email,
        created_at as first_seen_at,
        loaded_at as changed_at
    from requesters
    where email is not null

),

{% if is_incremental() %}
known_records as (

    select distinct
        record_kind,
        record_id
    from {{ this }}

),

{% endif %}
final as (

    select
        seen.record_kind,
        seen.record_id,
        seen.email,
        {% if is_incremental() %}
        -- of a record that was known by another address, this one is as young as the change
        case when known_records.record_id is null then seen.first_seen_at else seen.changed_at end as first_seen_at
        {% else %}
        seen.first_seen_at
        {% endif %}
    from seen
    {% if is_incremental() %}
    left join known_records
        on
            seen.record_kind = known_records.record_kind
            and seen.record_id = known_records.record_id
    left join {{ this }} as known
        on
            seen.record_kind = known.record_kind
            and seen.record_id = known.record_id
            and seen.email = known.email
    where known.email is null
    {% endif %}

)

select * from final
