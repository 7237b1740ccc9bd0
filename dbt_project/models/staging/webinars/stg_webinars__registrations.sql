with

source as (

    select
        *,
        {{ load_rank('id', '_landed_at') }} as load_rank
    from {{ landed('webinars', 'registration', [
        'id',
        'webinar_id',
        'email',
        'registered_at',
        'attended_minutes',
    ], optional=true) }}

),

webinars as (

    select
        *,
        {{ load_rank('id', '_landed_at') }} as load_rank
    from {{ landed('webinars', 'webinar', ['id', 'topic', 'starts_at'], optional=true) }}

),

renamed as (

    select
        ---------- ids
        source.id as registration_id,
        source.webinar_id,
        ---------- attributes
        webinars.topic,
        {{ normalised_email('source.email') }} as email,
        {{ whole_number('source.attended_minutes') }} as minutes,
        ---------- timestamps
        {{ utc_timestamp('source.registered_at') }} as registered_at,
        {{ utc_timestamp('webinars.starts_at') }} as started_at,
        {{ utc_timestamp('source._landed_at') }} as loaded_at
    from source
    left join webinars
        on
            source.webinar_id = webinars.id
            and webinars.load_rank = 1
    where
        source.load_rank = 1
        and not source._is_deleted
        and source.id is not null

),

-- who came is known once it has begun
final as (

    select
        registration_id,
        webinar_id,
        topic,
        email,
        registered_at,
        started_at,
        case when started_at <= {{ as_of_at() }} then minutes end as attended_minutes,
        coalesce(minutes > 0 and started_at <= {{ as_of_at() }}, false) as has_attended,
        loaded_at
    from renamed
    where registered_at <= {{ as_of_at() }}

)

select * from final
