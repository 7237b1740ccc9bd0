with

source as (

    select
        *,
        {{ load_rank('id', '_fivetran_synced') }} as load_rank
    from {{ source('raw_hubspot', 'email_event') }}

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
        {{ utc_timestamp('_fivetran_synced') }} as loaded_at
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
