with

source as (

    select
        *,
        {{ load_rank('id', '_landed_at') }} as load_rank
    from {{ landed('hubspot', 'email_event', [
        'id', 'sent_by_id', 'email_campaign_id', 'type', 'recipient', 'filtered_event', 'created',
    ], optional=true) }}

),

renamed as (

    select
        ---------- ids
        id as email_event_id,
        sent_by_id,
        cast(email_campaign_id as {{ dbt.type_string() }}) as email_campaign_id,
        ---------- attributes
        type as event_type,
        {{ normalised_email('recipient') }} as email,
        coalesce({{ true_or_false('filtered_event') }}, false) as is_filtered,
        ---------- timestamps
        {{ utc_timestamp('created') }} as occurred_at,
        {{ utc_timestamp('_landed_at') }} as loaded_at
    from source
    where
        load_rank = 1
        and id is not null

),

known as (

    select *
    from renamed
    where occurred_at <= {{ as_of_at() }}

)

select * from known
