with

source as (

    select
        *,
        {{ load_rank('uuid', ['_landed_at', 'arrived_at']) }} as load_rank
    from {{ posthog_events() }}
    -- what has not arrived by the clock is not known yet
    where {{ utc_timestamp('arrived_at') }} <= {{ as_of_at() }}

),

renamed as (

    select
        ---------- ids
        uuid as identify_id,
        coalesce(anonymous_id, device_id) as anonymous_id,
        {{ posthog_user_id() }} as user_id,
        ---------- attributes
        {{ normalised_email('email') }} as email,
        name as full_name,
        job_title,
        role as product_role,
        locale,
        time_zone,
        cast(null as boolean) as has_analytics_consent,
        ---------- timestamps
        {{ utc_timestamp('timestamp') }} as occurred_at,
        {{ utc_timestamp('arrived_at') }} as received_at
    from source
    where
        load_rank = 1
        and uuid is not null
        and event in ('$identify', '$set')

),

known as (

    select *
    from renamed
    where occurred_at <= {{ as_of_at() }}

)

select * from known
